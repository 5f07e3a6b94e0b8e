//! Parts of the host a guest may touch itself: I/O ports, interrupts, device memory.

use super::reader::Reader;
use crate::config::model::{BuildInfo, IomemRange, IoportRange};
use crate::config::syntax::Value;

pub fn resources(reader: &mut Reader<'_>, out: &mut BuildInfo) {
    for item in reader.list("ioports") {
        if let Some(range) =
            each(reader, "ioports", item, ioports, "hexadecimal ports up to ffff: \"2f8-2ff\" or \"3f8\"")
        {
            out.ioports.push(range);
        }
    }
    for item in reader.list("irqs") {
        if let Some(irq) = each(reader, "irqs", item, |text| text.trim().parse().ok(), "a number in decimal")
        {
            out.irqs.push(irq);
        }
    }
    for item in reader.list("iomem") {
        let form = "hexadecimal page numbers: \"START,COUNT\" or \"START,COUNT@GFN\"";
        if let Some(range) = each(reader, "iomem", item, iomem, form) {
            out.iomem.push(range);
        }
    }
}

fn each<T>(
    reader: &mut Reader<'_>,
    key: &str,
    item: &Value,
    parse: impl Fn(&str) -> Option<T>,
    form: &str,
) -> Option<T> {
    let text = reader.item(key, item)?;
    let found = parse(text);
    if found.is_none() {
        reader.error(item, format!("\"{text}\" cannot be an element of `{key}`"), format!("it is {form}"));
    }
    found
}

fn hex(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, 16).ok() }
}

fn ioports(text: &str) -> Option<IoportRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (u16::try_from(hex(first)?).ok()?, u16::try_from(hex(last)?).ok()?);
    let number = u32::from(last.checked_sub(first)?) + 1;
    Some(IoportRange { first: first.into(), number, ..IoportRange::default() })
}

fn iomem(text: &str) -> Option<IomemRange> {
    let (start, rest) = text.split_once(',')?;
    let (number, gfn) = match rest.split_once('@') {
        Some((number, gfn)) => (number, Some(hex(gfn)?)),
        None => (rest, None),
    };
    let (start, number) = (hex(start)?, hex(number).filter(|number| *number > 0)?);
    start.checked_add(number)?;
    Some(IomemRange { start, number, gfn, ..IomemRange::default() })
}
