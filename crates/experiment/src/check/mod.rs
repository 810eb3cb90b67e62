//! Checks a merged tree: against the schema generated from the types, then across tables.

pub(crate) mod describe;
pub(crate) mod schema;
pub(crate) mod schema_check;
pub(crate) mod semantic_checks;
