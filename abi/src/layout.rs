//! `abi_struct!`: declares a structure of the ABI with its derives, its size assertion and the list
//! of its fields, which `tests/layout.rs` compares with the C headers.

/// A field of an ABI structure: name, offset and size in bytes.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct FieldLayout {
    pub name: &'static str,
    pub offset: usize,
    pub size: usize,
}

/// Size of the field that `_project` selects, without needing a value of the structure.
pub(crate) const fn size_of_field<S, F>(_project: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// `abi_struct! { /// doc  pub struct Name[bytes] { pub field: type, ... } }`
macro_rules! abi_struct {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident [$size:expr] {
            $( $(#[$fmeta:meta])* pub $field:ident : $ty:ty ),* $(,)?
        }
    )*) => { $(
        $(#[$meta])*
        #[repr(C)]
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        pub struct $name {
            $( $(#[$fmeta])* pub $field: $ty, )*
        }

        const _: () = assert!(size_of::<$name>() == $size);

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }

        impl $name {
            #[doc(hidden)]
            pub const FIELDS: &'static [$crate::FieldLayout] = &[$(
                $crate::FieldLayout {
                    name: stringify!($field),
                    offset: core::mem::offset_of!($name, $field),
                    size: $crate::layout::size_of_field::<$name, $ty>(|s| &s.$field),
                },
            )*];
        }
    )* };
}
