//! Small values of configurations: identities, addresses, sets of CPUs.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use serde_json::Value;

use super::json::{Json, Mismatch};

/// Yes, no, or what is best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefBool {
    #[default]
    Default,
    False,
    True,
}

impl DefBool {
    pub fn or(self, default: bool) -> bool {
        match self {
            DefBool::Default => default,
            DefBool::False => false,
            DefBool::True => true,
        }
    }
}

impl From<bool> for DefBool {
    fn from(yes: bool) -> DefBool {
        if yes { DefBool::True } else { DefBool::False }
    }
}

impl Json for DefBool {
    fn absent(&self) -> bool {
        *self == DefBool::Default
    }
    fn encode(&self) -> Value {
        Value::from(match self {
            DefBool::Default => "<default>",
            DefBool::False => "False",
            DefBool::True => "True",
        })
    }
    fn decode(value: &Value) -> Result<DefBool, Mismatch> {
        match value.as_str() {
            Some("<default>") => Ok(DefBool::Default),
            Some("False") => Ok(DefBool::False),
            Some("True") => Ok(DefBool::True),
            _ => Err(Mismatch::new("\"True\", \"False\" or \"<default>\"", value)),
        }
    }
}

/// 128 bits that tell a guest from all others.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// A random one (version 4 of RFC 9562), from the kernel's source of random numbers.
    pub fn random() -> io::Result<Uuid> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Uuid(bytes))
    }

    /// 8-4-4-4-12 hexadecimal digits of either case.
    pub fn parse(text: &str) -> Option<Uuid> {
        let groups: Vec<&str> = text.split('-').collect();
        let digits = groups.concat();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) || !digits.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = &digits[2 * at..2 * at + 2];
            if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Uuid(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if [4, 6, 8, 10].contains(&at) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Json for Uuid {
    fn absent(&self) -> bool {
        *self == Uuid::default()
    }
    fn encode(&self) -> Value {
        Value::from(self.to_string())
    }
    fn decode(value: &Value) -> Result<Uuid, Mismatch> {
        value.as_str().and_then(Uuid::parse).ok_or_else(|| Mismatch::new("a UUID", value))
    }
}

/// An Ethernet address; all zeros where one is still to be chosen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Six groups of one or two hexadecimal digits after `:` or, as the stock parser takes it, `-`.
    pub fn parse(text: &str) -> Option<Mac> {
        let mut mac = Mac::default();
        let mut groups = text.split([':', '-']);
        for byte in &mut mac.0 {
            let group = groups.next()?;
            if !(1..=2).contains(&group.len()) || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(group, 16).ok()?;
        }
        groups.next().is_none().then_some(mac)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Json for Mac {
    fn absent(&self) -> bool {
        *self == Mac::default()
    }
    fn encode(&self) -> Value {
        Value::from(self.to_string())
    }
    fn decode(value: &Value) -> Result<Mac, Mismatch> {
        value.as_str().and_then(Mac::parse).ok_or_else(|| Mismatch::new("an Ethernet address", value))
    }
}

/// A set of numbers: CPUs of the host or of a guest, NUMA nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap(pub BTreeSet<u32>);

impl FromIterator<u32> for Bitmap {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Bitmap {
        Bitmap(numbers.into_iter().collect())
    }
}

impl Json for Bitmap {
    fn absent(&self) -> bool {
        self.0.is_empty()
    }
    fn encode(&self) -> Value {
        Value::Array(self.0.iter().map(|n| Value::from(*n)).collect())
    }
    fn decode(value: &Value) -> Result<Bitmap, Mismatch> {
        Vec::<u32>::decode(value).map(|numbers| numbers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_exact() {
        let text = "AAAAAAAA-2222-3333-4444-5555555555fF";
        assert_eq!(Uuid::parse(text).unwrap().to_string(), text.to_lowercase());
        for bad in ["", "x", "11111111222233334444555555555555", "1111111-12222-3333-4444-555555555555"] {
            assert_eq!(Uuid::parse(bad), None, "{bad}");
        }
        assert_eq!(Uuid::parse("+1111111-2222-3333-4444-555555555555"), None);
        let random = Uuid::random().unwrap().to_string();
        assert_eq!((&random[14..15], random == Uuid::random().unwrap().to_string()), ("4", false));
    }

    #[test]
    fn addresses_are_exact() {
        assert_eq!(Mac::parse("00:16:3E:74-34:3").unwrap().to_string(), "00:16:3e:74:34:03");
        for bad in [
            "",
            "x",
            "00:16:3e:5f:48",
            "00163e000001",
            "00:16:3e:00:00:01:02",
            "+0:1:2:3:4:5",
            "0:1:2:3:4:100",
        ] {
            assert_eq!(Mac::parse(bad), None, "{bad}");
        }
    }
}
