//! The registry of kinds: features, augmentations, models, data sets.
//!
//! A kind is a struct (its spec) in its own file and one line in a `registry!` block. The block generates the tagged enum that
//! TOML is parsed into, the list of kinds for messages, and access to the spec's trait.

/// `registry! { pub enum FeatureSpec: FeatureKind { "mel" => mel::Mel, } }`
#[macro_export]
macro_rules! registry {
    ($(#[$meta:meta])* pub enum $Spec:ident: $Kind:path { $($name:literal => $module:ident::$Variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(tag = "kind", remote = "Self")]
        pub enum $Spec {
            $(#[serde(rename = $name)] $Variant($module::$Variant),)+
        }

        impl serde::Serialize for $Spec {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $Spec {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::from_json(serde_json::Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl $Spec {
            /// Every format is read through JSON values: the code for all kinds, which is generic, is compiled once, in this crate.
            fn from_json(value: serde_json::Value) -> Result<Self, serde_json::Error> {
                Self::deserialize(value)
            }

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

/// A fault in a spec: the key, and a sentence that says what is wrong with its value and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, as in the TOML file.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub sentence: String,
}

impl Fault {
    /// A fault of a key.
    pub fn new(key: impl Into<String>, sentence: impl Into<String>) -> Fault {
        Fault { key: key.into(), sentence: sentence.into() }
    }

    /// The faults of the keys that have a sentence.
    pub fn of_keys<const N: usize>(keys: [(&str, Option<String>); N]) -> Vec<Fault> {
        keys.into_iter().filter_map(|(key, sentence)| Some(Fault::new(key, sentence?))).collect()
    }
}

/// What every kind provides whose numbers depend on the sample rate: features and augmentations.
pub trait Kind {
    /// Raised by hand when the same spec gives other numbers than before.
    fn version(&self) -> u32 {
        1
    }

    /// All faults of the keys, for clips of this sample rate.
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Vec::new()
    }
}
