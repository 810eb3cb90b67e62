//! The keys that every augmentation has, and how its spec is written down once.

/// Makes the spec of an augmentation: its own keys, then `name` and `p`.
macro_rules! augment_spec {
    ($(#[$meta:meta])* pub struct $Spec:ident { $($(#[$key_meta:meta])* pub $key:ident: $Type:ty = $default:expr,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// What a model's key `augment` calls it. Left out: its kind.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1))]
            pub name: Option<String>,
            /// How often it happens, 0 to 1. Default: 1.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub p: f64,
            $($(#[$key_meta])* pub $key: $Type,)*
        }

        impl Default for $Spec {
            fn default() -> Self {
                $Spec { name: None, p: 1.0, $($key: $default,)* }
            }
        }

        impl $crate::augment::spec::Common for $Spec {
            fn name(&self) -> Option<&str> {
                self.name.as_deref()
            }

            fn p(&self) -> f64 {
                self.p
            }
        }
    };
}

/// The keys that every augmentation has.
pub trait Common {
    fn name(&self) -> Option<&str>;

    /// How often it happens.
    fn p(&self) -> f64;
}

/// What is wrong with the keys of a spec, of those that have something wrong.
pub fn faults_of<const N: usize>(keys: [(&str, Option<String>); N]) -> Vec<super::Fault> {
    keys.into_iter().filter_map(|(key, why)| Some((key.to_owned(), why?))).collect()
}
