//! Options against what the stock tool makes of them (`corpus/options.txt`), and whole files against its
//! whole output.

use std::collections::BTreeMap;

use serde_json::Value;
use toolstack::config::model::{DomainConfig, Json, Uuid};
use toolstack::config::{Globals, Loaded, Report, Surroundings, load};

const BASE: &str = "name=\"n\"\nmemory=64\nkernel=\"/k\"\nuuid=\"11111111-2222-3333-4444-555555555555\"\n";

/// Options whose answer is another one on purpose, by reason.
const DIFFERENT: &[(&str, &[&str])] = &include!("corpus/different.rs");

fn read(text: &str) -> Loaded {
    let around =
        Surroundings { globals: Globals::default(), cpu_nodes: vec![0, 0, 1, 1], uuid: Uuid([7; 16]) };
    load(text, &around)
}

/// Every scalar and every list of scalars under its path.
fn flatten(value: &Value, path: &str, out: &mut BTreeMap<String, String>) {
    let scalar = |value: &Value| !value.is_object() && !value.is_array();
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(key, value)| flatten(value, &format!("{path}.{key}"), out));
        }
        Value::Array(list) if !list.iter().all(scalar) => {
            list.iter().enumerate().for_each(|(at, value)| flatten(value, &format!("{path}[{at}]"), out));
        }
        _ => {
            out.insert(path.to_string(), value.to_string());
        }
    }
}

fn flat(config: &DomainConfig) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    flatten(&config.encode(), "", &mut out);
    out
}

/// What ours makes of an option, in the form of the corpus.
fn ours(option: &str) -> Vec<String> {
    let loaded = read(&format!("{BASE}{}\n", option.replace("\\n", "\n")));
    if loaded.failed() {
        return vec!["refused".into()];
    }
    let base = flat(&read(BASE).config);
    let all = flat(&loaded.config);
    let changed = all.iter().filter(|(key, value)| base.get(*key) != Some(value));
    let mut lines: Vec<String> = changed.map(|(key, value)| format!("{key} = {value}")).collect();
    lines.extend(base.keys().filter(|key| !all.contains_key(*key)).map(|key| format!("{key} gone")));
    lines.sort();
    lines
}

#[test]
fn options_mean_what_they_mean_to_stock() {
    let corpus = include_str!("corpus/options.txt");
    let mut cases: Vec<(&str, Vec<String>)> = Vec::new();
    for line in corpus.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("    ") {
            Some(result) => cases.last_mut().expect("an option first").1.push(result.into()),
            None => cases.push((line, Vec::new())),
        }
    }
    assert!(cases.len() > 300, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    let mut different: Vec<&str> =
        DIFFERENT.iter().flat_map(|(_, options)| options.iter().copied()).collect();
    for (option, mut stock) in cases {
        stock.sort();
        let ours = ours(option);
        let known = different.iter().position(|one| *one == option);
        match (stock == ours, known) {
            (true, None) => {}
            (false, Some(at)) => drop(different.remove(at)),
            (true, Some(_)) => wrong.push(format!("{option}\n  is listed as different and is not")),
            (false, None) => wrong.push(format!("{option}\n  stock {stock:?}\n  ours  {ours:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(different, [""; 0], "listed as different, and not in the corpus");
}

#[test]
fn whole_files_are_written_as_stock_writes_them() {
    for (name, text, stock) in [
        ("full", include_str!("corpus/full.cfg"), include_str!("corpus/full.json")),
        ("example", include_str!("corpus/example.cfg"), include_str!("corpus/example.json")),
    ] {
        let loaded = read(text);
        let report = Report { file: name, text, diagnostics: &loaded.diagnostics };
        assert!(!loaded.failed(), "{report}");
        assert_eq!(loaded.config.to_json(), stock.trim_end(), "{name}");
        assert_eq!(DomainConfig::from_json(stock).unwrap(), loaded.config, "{name}");
    }
}

#[test]
fn what_another_tool_wrote_is_kept() {
    let text = "{ \"c_info\": { \"type\": \"hvm\", \"new\": [1] }, \"b_info\": { \"type.hvm\": { \"boot\": \"c\" } } }\0";
    let config = DomainConfig::from_json(text).unwrap();
    let again = DomainConfig::from_json(&config.to_json()).unwrap();
    assert_eq!(config, again);
    assert!(config.to_json().contains("\"new\"") && config.to_json().contains("\"boot\": \"c\""));
    let error = DomainConfig::from_json("{ \"disks\": [ {}, { \"readwrite\": \"yes\" } ] }").unwrap_err();
    assert!(error.to_string().contains("disks[1].readwrite: expected a signed number"), "{error}");
}
