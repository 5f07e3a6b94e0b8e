//! Sound cards: each a list of strings, a head (`card`, `pcm`, `stream`) and its parameters; what comes
//! after a card or device belongs to it.

use super::reader::Reader;
use super::spec::{Pair, pairs};
use crate::config::diagnostic::Diagnostic;
use crate::config::model::{DomainConfig, SoundParams, SoundPcm, SoundStream, Vsnd};
use crate::config::syntax::Value;

const FORMATS: &[&str] = &[
    "s8",
    "u8",
    "s16_le",
    "s16_be",
    "u16_le",
    "u16_be",
    "s24_le",
    "s24_be",
    "u24_le",
    "u24_be",
    "s32_le",
    "s32_be",
    "u32_le",
    "u32_be",
    "float_le",
    "float_be",
    "float64_le",
    "float64_be",
    "iec958_subframe_le",
    "iec958_subframe_be",
    "mu_law",
    "a_law",
    "ima_adpcm",
    "mpeg",
    "gsm",
];
const COMMON: &[&str] = &["sample-rates", "sample-formats", "channels-min", "channels-max", "buffer-size"];

pub fn sound(reader: &mut Reader<'_>, out: &mut DomainConfig) {
    for (index, item) in reader.list("vsnd").iter().enumerate() {
        let Some(items) = item.list() else {
            let help = "write vsnd = [ [ \"CARD, short-name=Main\", \"PCM, name=x\", \"STREAM, type=p\" ] ]";
            reader.error(item, "a card of `vsnd` is a list", help);
            continue;
        };
        let mut card = Vsnd { devid: Some(index as i32), ..Vsnd::default() };
        for item in items {
            if let Some(text) = reader.item("vsnd", item) {
                part(reader, &mut card, item, text);
            }
        }
        out.vsnds.push(card);
    }
}

fn part(reader: &mut Reader<'_>, card: &mut Vsnd, item: &Value, text: &str) {
    let all: Vec<Pair<'_>> = pairs(item, text).collect();
    let Some((head, rest)) = all.split_first() else { return };
    match head.key.to_lowercase().as_str() {
        "card" => {
            for pair in rest {
                match pair.key {
                    "backend" => card.backend_domname = pair.owned(reader),
                    "short-name" => card.short_name = pair.owned(reader),
                    "long-name" => card.long_name = pair.owned(reader),
                    _ => common(reader, &mut card.params, pair),
                }
            }
        }
        "pcm" => {
            let mut pcm = SoundPcm::default();
            for pair in rest {
                match pair.key {
                    "name" => pcm.name = pair.owned(reader),
                    _ => common(reader, &mut pcm.params, pair),
                }
            }
            card.pcms.push(pcm);
        }
        "stream" => {
            let mut stream = SoundStream::default();
            for pair in rest {
                match pair.key {
                    "unique-id" => stream.unique_id = pair.owned(reader),
                    "type" => stream.kind = pair.choice(reader, &[("p", "p"), ("c", "c")]).map(String::from),
                    _ => common(reader, &mut stream.params, pair),
                }
            }
            match card.pcms.last_mut() {
                Some(pcm) => pcm.streams.push(stream),
                None => {
                    reader.error(item, "this stream belongs to no device", "write \"PCM, ...\" before it")
                }
            }
        }
        other => {
            let error = Diagnostic::error(head.at(), format!("\"{other}\" is no part of a sound card"));
            reader.diagnostics.push(error.help("it begins with CARD, PCM or STREAM"));
        }
    }
}

fn common(reader: &mut Reader<'_>, params: &mut SoundParams, pair: &Pair<'_>) {
    let number = |reader: &mut Reader<'_>| {
        pair.number(reader, 1, i64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    };
    match pair.key {
        "sample-rates" => {
            let text = pair.text(reader).unwrap_or_default();
            match text.split(';').map(|rate| rate.trim().parse().ok()).collect() {
                Some(rates) => params.sample_rates = rates,
                None => pair.wrong(reader, "numbers with semicolons between them"),
            }
        }
        "sample-formats" => {
            let text = pair.text(reader).unwrap_or_default();
            params.sample_formats = text.split(';').map(|name| name.trim().to_lowercase()).collect();
            if !params.sample_formats.iter().all(|name| FORMATS.contains(&name.as_str())) {
                pair.wrong(reader, format!("of these, with semicolons between them: {}", FORMATS.join(", ")));
            }
        }
        "channels-min" => params.channels_min = number(reader),
        "channels-max" => params.channels_max = number(reader),
        "buffer-size" => params.buffer_size = number(reader),
        _ => pair.refuse(reader, "this part of a sound card", COMMON),
    }
}
