//! `augment_spec!` declares the spec of an augmentation and its draw.

/// Declares the spec of an augmentation, with the keys that all share before its own, and the draw that it makes.
macro_rules! augment_spec {
    (
        $(#[$meta:meta])* pub struct $Spec:ident { $($(#[$key_meta:meta])* pub $key:ident: $Type:ty = $default:expr,)* }
        $($(#[$draw_meta:meta])* pub struct $Draw:ident { $($(#[$value_meta:meta])* pub $value:ident: $ValueType:ty,)* })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// The name of the augmentation in the key `augment` of a model. Default: its kind.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1))]
            pub name: Option<String>,
            /// Probability that the augmentation happens, 0 to 1. Default: 1.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub p: f64,
            /// Fixed copies of each training clip that the augmentation makes for every model, in place of new examples for networks in
            /// each epoch. Default: 0.
            #[serde(skip_serializing_if = "crate::augment::spec::is_zero")]
            #[schemars(range(max = 100))]
            pub copies: usize,
            /// The first epoch in which the augmentation happens, counted from 1. Default: the first.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1))]
            pub from_epoch: Option<usize>,
            /// The last epoch in which the augmentation happens. Default: the last.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1))]
            pub until_epoch: Option<usize>,
            $($(#[$key_meta])* pub $key: $Type,)*
        }

        impl Default for $Spec {
            fn default() -> Self {
                $Spec { name: None, p: 1.0, copies: 0, from_epoch: None, until_epoch: None, $($key: $default,)* }
            }
        }

        impl $crate::augment::spec::SharedKeys for $Spec {
            fn name(&self) -> Option<&str> {
                self.name.as_deref()
            }

            fn p(&self) -> f64 {
                self.p
            }

            fn copies(&self) -> usize {
                self.copies
            }

            fn epochs(&self) -> (Option<usize>, Option<usize>) {
                (self.from_epoch, self.until_epoch)
            }
        }

        $(
            $(#[$draw_meta])*
            #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
            #[serde(deny_unknown_fields)]
            pub struct $Draw {
                $($(#[$value_meta])* pub $value: $ValueType,)*
            }
        )?
    };
}

pub fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The keys that every augmentation has.
pub trait SharedKeys {
    fn name(&self) -> Option<&str>;

    /// Probability that the augmentation happens.
    fn p(&self) -> f64;

    /// The number of fixed copies of each training clip.
    fn copies(&self) -> usize;

    /// The first and the last epoch in which the augmentation happens, counted from 1.
    fn epochs(&self) -> (Option<usize>, Option<usize>);
}
