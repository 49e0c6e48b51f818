//! The macros that declare a piece of the language once: its struct, its defaults, how it is read
//! and written, and its JSON Schema.

/// Declares a table. A field without `=` is required; with `=` it has that default; `as Form` after
/// the type names another notation than the type's own (see [`lang`](crate::scenario::lang)).
macro_rules! table {
    ($(#[doc = $doc:literal])* pub struct $name:ident {
        $($(#[doc = $fdoc:literal])* pub $field:ident : $ty:ty $(as $form:ident)? $(= $default:expr)?,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $fdoc])* pub $field: $ty,)*
        }

        table! { @default $name [] $($field $(= $default)?,)* }

        impl $crate::scenario::lang::Lang for $name {
            fn read(node: &$crate::scenario::tree::Node, cx: &mut $crate::scenario::lang::Reader<'_>) -> Option<Self> {
                let table = cx.table(node)?;
                <Self as $crate::scenario::lang::TableLang>::read_fields(node.span, table, None, cx)
            }

            fn write(&self) -> $crate::scenario::written::Written {
                $crate::scenario::written::Written::Table(
                    <Self as $crate::scenario::lang::TableLang>::write_fields(self),
                )
            }

            fn schema(defs: &mut $crate::scenario::lang::Defs) -> serde_json::Value {
                $crate::scenario::lang::table_schema::<Self>(defs)
            }
        }

        impl $crate::scenario::lang::TableLang for $name {
            const NAME: &'static str = stringify!($name);
            const DOC: &'static str = concat!($($doc, "\n"),*);

            fn keys() -> &'static [&'static str] {
                const KEYS: &[&str] = &[$($crate::scenario::lang::key(stringify!($field))),*];
                KEYS
            }

            #[allow(unused_variables, reason = "a table may have no fields")]
            fn read_fields(
                span: $crate::scenario::diagnostic::Span,
                table: &$crate::scenario::tree::Table,
                tag: Option<&str>,
                cx: &mut $crate::scenario::lang::Reader<'_>,
            ) -> Option<Self> {
                cx.unknown_keys(table, Self::keys(), tag, Self::NAME);
                $(let $field: Option<$ty> = match table.get($crate::scenario::lang::key(stringify!($field))) {
                    Some(entry) => cx.within($crate::scenario::lang::key(stringify!($field)), |cx| {
                        <table!(@form $($form)?) as $crate::scenario::lang::Form<$ty>>::read(&entry.node, cx)
                    }),
                    None => table!(@absent cx, span, Self, $field $(= $default)?),
                };)*
                Some(Self { $($field: $field?),* })
            }

            fn write_fields(&self) -> indexmap::IndexMap<String, $crate::scenario::written::Written> {
                indexmap::IndexMap::from_iter([$((
                    $crate::scenario::lang::key(stringify!($field)).to_owned(),
                    <table!(@form $($form)?) as $crate::scenario::lang::Form<$ty>>::write(&self.$field),
                )),*])
            }

            #[allow(unused_variables, reason = "a table may have no fields")]
            fn fields(defs: &mut $crate::scenario::lang::Defs) -> Vec<$crate::scenario::lang::Field> {
                vec![$($crate::scenario::lang::Field {
                    key: $crate::scenario::lang::key(stringify!($field)),
                    doc: concat!($($fdoc, "\n"),*),
                    default: table!(@written $ty, table!(@form $($form)?) $(, $default)?),
                    schema: <table!(@form $($form)?) as $crate::scenario::lang::Form<$ty>>::schema(defs),
                }),*]
            }
        }
    };

    (@form) => { $crate::scenario::lang::Plain };
    (@form $form:ident) => { $crate::scenario::lang::$form };

    (@absent $cx:ident, $span:ident, $me:ty, $field:ident) => {{
        $cx.missing_key($span, $crate::scenario::lang::key(stringify!($field)), <$me as $crate::scenario::lang::TableLang>::NAME);
        None
    }};
    (@absent $cx:ident, $span:ident, $me:ty, $field:ident = $default:expr) => { Some($default) };

    (@written $ty:ty, $form:ty) => { None };
    (@written $ty:ty, $form:ty, $default:expr) => {
        Some(<$form as $crate::scenario::lang::Form<$ty>>::write(&$default))
    };

    // `Default` only where every field has one.
    (@default $name:ident [$($done:tt)*]) => {
        impl Default for $name {
            fn default() -> Self {
                Self { $($done)* }
            }
        }
    };
    (@default $name:ident [$($done:tt)*] $field:ident = $default:expr, $($rest:tt)*) => {
        table! { @default $name [$($done)* $field: $default,] $($rest)* }
    };
    (@default $name:ident [$($done:tt)*] $field:ident, $($rest:tt)*) => {};
}

/// Declares a closed set of words, written in snake case or as the API spells them.
macro_rules! words {
    ($(#[doc = $doc:literal])* pub enum $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[doc = $vdoc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word as the language writes it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::scenario::lang::Lang for $name {
            fn read(node: &$crate::scenario::tree::Node, cx: &mut $crate::scenario::lang::Reader<'_>) -> Option<Self> {
                cx.word(node, &[$($text),*]).and_then(|i| Self::ALL.get(i).copied())
            }

            fn write(&self) -> $crate::scenario::written::Written {
                $crate::scenario::written::Written::Str(self.as_str().to_owned())
            }

            fn schema(defs: &mut $crate::scenario::lang::Defs) -> serde_json::Value {
                $crate::scenario::lang::words_schema(
                    defs, stringify!($name), concat!($($doc, "\n"),*), &[$(($text, concat!($($vdoc, "\n"),*))),*],
                )
            }
        }
    };
}

/// Declares a set of tables that are told apart by a key, which is taken by hand so that every span
/// stays exact. A bare word stands for a table with nothing but that key.
macro_rules! tagged {
    ($(#[doc = $doc:literal])* by $tag:literal pub enum $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident($ty:ty) = $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[allow(clippy::large_enum_variant, reason = "a plan holds few of them, and boxes would be in the way of its readers")]
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($(#[doc = $vdoc])* $variant($ty),)*
        }

        impl $name {
            /// The word that tells the variants apart.
            #[must_use]
            pub const fn tag(&self) -> &'static str {
                match self { $(Self::$variant(_) => $text,)* }
            }
        }

        impl $crate::scenario::lang::Lang for $name {
            fn read(node: &$crate::scenario::tree::Node, cx: &mut $crate::scenario::lang::Reader<'_>) -> Option<Self> {
                let (table, word) = cx.tag(node, $tag, &[$($text),*])?;
                match word {
                    $($text => <$ty as $crate::scenario::lang::TableLang>::read_fields(node.span, &table, Some($tag), cx)
                        .map(Self::$variant),)*
                    _ => None,
                }
            }

            fn write(&self) -> $crate::scenario::written::Written {
                let mut table = indexmap::IndexMap::from_iter([(
                    $tag.to_owned(),
                    $crate::scenario::written::Written::Str(self.tag().to_owned()),
                )]);
                match self {
                    $(Self::$variant(inner) => table.extend($crate::scenario::lang::TableLang::write_fields(inner)),)*
                }
                $crate::scenario::written::Written::Table(table)
            }

            fn schema(defs: &mut $crate::scenario::lang::Defs) -> serde_json::Value {
                let variants = vec![$((
                    $text,
                    concat!($($vdoc, "\n"),*),
                    $crate::scenario::lang::variant_schema::<$ty>(defs, $tag, $text),
                )),*];
                $crate::scenario::lang::tagged_schema(defs, stringify!($name), concat!($($doc, "\n"),*), variants)
            }
        }
    };
}
