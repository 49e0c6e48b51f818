//! The macro that declares a table of the language once: struct, defaults, reading, writing, schema.

/// Declares a table. A field without `=` is required; with `=` it has that default.
macro_rules! table {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$fmeta:meta])* pub $field:ident : $ty:ty $(= $default:expr)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }
    };
}

/// Declares a closed set of words, written in snake case or as the API spells them.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)*
        }
    };
}

/// Declares a set of tables that are told apart by their key `type` (or another key given as `by`).
macro_rules! tagged {
    ($(#[$meta:meta])* by $tag:literal pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident($ty:ty) = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($(#[$vmeta])* $variant($ty),)*
        }
    };
}
