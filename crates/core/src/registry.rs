//! The one way in which kinds are listed: features, models, data sets.
//!
//! A kind is a struct (its spec) in a file of its own and one line in a `registry!` block. The block makes the tagged
//! enum that TOML files are read into, the list of kinds that messages and `--help` print, and the way to the spec's trait.

/// `registry! { pub enum FeatureSpec: FeatureKind { "mel" => mel::Mel, } }`
#[macro_export]
macro_rules! registry {
    ($(#[$meta:meta])* pub enum $Spec:ident: $Kind:path { $($name:literal => $module:ident::$Variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(tag = "kind")]
        pub enum $Spec {
            $(#[serde(rename = $name)] $Variant($module::$Variant),)+
        }

        impl $Spec {
            /// Every kind, in the order of its registration.
            pub const KINDS: &'static [&'static str] = &[$($name),+];

            /// The word that selects this kind in a TOML file.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$Variant(_) => $name,)+ }
            }

            /// What this kind can do.
            pub fn as_kind(&self) -> &dyn $Kind {
                match self { $(Self::$Variant(spec) => spec,)+ }
            }
        }
    };
}
