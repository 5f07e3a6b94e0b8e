//! The JSON form of a configuration, as the stock tools print it and keep it beside each guest.
//!
//! A field that has its default is left out; yes/no values that have a third state "default" are the
//! strings `"True"` and `"False"`. A field this crate does not know is kept and written back, so
//! that nothing is lost of a configuration that another tool has made.

use std::fmt;

use serde_json::Value;

/// The form and back.
pub trait Json: Sized + Default {
    /// Whether the field is left out.
    fn absent(&self) -> bool;
    fn encode(&self) -> Value;
    /// Errors name the field by its path.
    fn decode(value: &Value) -> Result<Self, Mismatch>;
}

/// A field that is not what its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// From the outermost field inwards, joined by dots.
    pub path: String,
    pub expected: &'static str,
    /// What stands there, shortened.
    pub found: String,
}

impl Mismatch {
    pub fn new(expected: &'static str, found: &Value) -> Mismatch {
        let mut text = found.to_string();
        if let Some((at, _)) = text.char_indices().nth(40) {
            text.truncate(at);
            text.push_str("...");
        }
        Mismatch { path: String::new(), expected, found: text }
    }

    /// Within the field `name`.
    pub fn within(mut self, name: &str) -> Mismatch {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)
    }
}

impl std::error::Error for Mismatch {}

macro_rules! integers {
    ($($ty:ty: $expected:literal),*) => { $(
        impl Json for $ty {
            fn absent(&self) -> bool {
                *self == 0
            }
            fn encode(&self) -> Value {
                Value::from(*self)
            }
            fn decode(value: &Value) -> Result<$ty, Mismatch> {
                let number = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
                number.and_then(|n| <$ty>::try_from(n).ok()).ok_or_else(|| Mismatch::new($expected, value))
            }
        }
    )* };
}

integers!(u8: "a number of 8 bits", u32: "a number of 32 bits", u64: "a number of 64 bits",
    i32: "a signed number of 32 bits");

impl Json for bool {
    fn absent(&self) -> bool {
        !*self
    }
    fn encode(&self) -> Value {
        Value::Bool(*self)
    }
    fn decode(value: &Value) -> Result<bool, Mismatch> {
        value.as_bool().ok_or_else(|| Mismatch::new("true or false", value))
    }
}

impl Json for String {
    fn absent(&self) -> bool {
        false
    }
    fn encode(&self) -> Value {
        Value::from(self.as_str())
    }
    fn decode(value: &Value) -> Result<String, Mismatch> {
        value.as_str().map(String::from).ok_or_else(|| Mismatch::new("a string", value))
    }
}

impl Json for Value {
    fn absent(&self) -> bool {
        self.is_null()
    }
    fn encode(&self) -> Value {
        self.clone()
    }
    fn decode(value: &Value) -> Result<Value, Mismatch> {
        Ok(value.clone())
    }
}

impl<T: Json> Json for Option<T> {
    fn absent(&self) -> bool {
        self.is_none()
    }
    fn encode(&self) -> Value {
        self.as_ref().map_or(Value::Null, Json::encode)
    }
    fn decode(value: &Value) -> Result<Option<T>, Mismatch> {
        if value.is_null() { Ok(None) } else { T::decode(value).map(Some) }
    }
}

impl<T: Json> Json for Vec<T> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
    fn encode(&self) -> Value {
        Value::Array(self.iter().map(Json::encode).collect())
    }
    fn decode(value: &Value) -> Result<Vec<T>, Mismatch> {
        let items = value.as_array().ok_or_else(|| Mismatch::new("a list", value))?;
        let item = |(at, item)| T::decode(item).map_err(|e| e.within(&format!("[{at}]")));
        items.iter().enumerate().map(item).collect()
    }
}

/// Structs whose fields are written in the order and under the names given here.
macro_rules! record {
    ($(#[$doc:meta])* pub struct $name:ident { $( $(#[$field_doc:meta])* $field:ident: $ty:ty = $key:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $ty, )*
            /// Fields of another tool, kept as they are.
            pub other: serde_json::Map<String, serde_json::Value>,
        }

        impl $crate::config::model::json::Json for $name {
            fn absent(&self) -> bool {
                false
            }
            fn encode(&self) -> serde_json::Value {
                let mut map = serde_json::Map::new();
                $( if !$crate::config::model::json::Json::absent(&self.$field) {
                    map.insert($key.into(), $crate::config::model::json::Json::encode(&self.$field));
                } )*
                map.extend(self.other.clone());
                serde_json::Value::Object(map)
            }
            fn decode(value: &serde_json::Value) -> Result<$name, $crate::config::model::json::Mismatch> {
                let map = value
                    .as_object()
                    .ok_or_else(|| $crate::config::model::json::Mismatch::new("an object", value))?;
                let mut out = $name::default();
                for (key, value) in map {
                    match key.as_str() {
                        $( $key => {
                            out.$field =
                                $crate::config::model::json::Json::decode(value).map_err(|e| e.within($key))?;
                        } )*
                        _ => {
                            out.other.insert(key.clone(), value.clone());
                        }
                    }
                }
                Ok(out)
            }
        }
    };
}

/// Enums of names. The first is the default, which is left out.
macro_rules! names {
    ($(#[$doc:meta])* pub enum $name:ident: $expected:literal { $first:ident = $first_name:literal, $( $variant:ident = $text:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            #[default]
            $first,
            $( $variant, )*
        }

        impl $name {
            /// Every value, the default first.
            pub const ALL: &'static [$name] = &[$name::$first, $( $name::$variant, )*];

            /// The name in JSON and in the store.
            pub fn name(self) -> &'static str {
                match self {
                    $name::$first => $first_name,
                    $( $name::$variant => $text, )*
                }
            }

            pub fn from_name(name: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|one| one.name() == name)
            }
        }

        impl $crate::config::model::json::Json for $name {
            fn absent(&self) -> bool {
                *self == $name::$first
            }
            fn encode(&self) -> serde_json::Value {
                serde_json::Value::from(self.name())
            }
            fn decode(value: &serde_json::Value) -> Result<$name, $crate::config::model::json::Mismatch> {
                value
                    .as_str()
                    .and_then($name::from_name)
                    .ok_or_else(|| $crate::config::model::json::Mismatch::new($expected, value))
            }
        }
    };
}

pub(crate) use {names, record};

/// The text as the stock tools lay it out: four blanks a level, an empty object on three lines.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    lay_out(value, 0, &mut out);
    out
}

fn lay_out(value: &Value, depth: usize, out: &mut String) {
    let indent = |out: &mut String, depth: usize| out.push_str(&"    ".repeat(depth));
    let (open, close, items): (_, _, Vec<(Option<&String>, &Value)>) = match value {
        Value::Object(map) => ('{', '}', map.iter().map(|(key, value)| (Some(key), value)).collect()),
        Value::Array(list) => ('[', ']', list.iter().map(|value| (None, value)).collect()),
        plain => return out.push_str(&plain.to_string()),
    };
    out.push(open);
    out.push('\n');
    let last = items.len();
    for (index, (key, value)) in items.into_iter().enumerate() {
        indent(out, depth + 1);
        if let Some(key) = key {
            out.push_str(&Value::from(key.as_str()).to_string());
            out.push_str(": ");
        }
        lay_out(value, depth + 1, out);
        out.push_str(if index + 1 == last { "" } else { "," });
        out.push('\n');
    }
    if last == 0 {
        out.push('\n');
    }
    indent(out, depth);
    out.push(close);
}
