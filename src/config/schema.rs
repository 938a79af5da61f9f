//! The configuration for editors and for readers: a JSON Schema and a table, both made of the table of keys.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Kind, PASSTHROUGH, Preset, SECTIONS};

/// JSON Schema (2020-12) of the file. What needs more than one key, or a look at a file, is `check`'s.
pub fn json_schema() -> Value {
    let sections = SECTIONS.iter().map(|section| ((*section).to_owned(), section_schema(section)));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "otk-gateway",
        "description": "Configuration of otk-gateway; `otk-gateway check` judges what a schema cannot.",
        "type": "object",
        "additionalProperties": false,
        "required": ["upstream"],
        "properties": sections.collect::<Map<_, _>>(),
    })
}

fn section_schema(section: &str) -> Value {
    let keys = || KEYS.iter().filter(|key| key.section() == section);
    let required: Vec<_> = keys().filter(|key| key.preset == Preset::Required).map(Key::name).collect();
    let properties: Map<_, _> = keys().map(|key| (key.name().to_owned(), key_schema(key))).collect();
    let table = json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    });
    if section == PASSTHROUGH { json!({ "type": "array", "items": table }) } else { table }
}

fn key_schema(key: &Key) -> Value {
    let mut schema = match key.kind {
        Kind::Duration(..) => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        Kind::Size(..) => json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" }),
        Kind::Count(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Rate(least, most) => json!({ "type": "number", "minimum": least, "maximum": most }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Hosts | Kind::Origins | Kind::Paths => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::PublicKeys => json!({
            "type": "array",
            "items": { "type": "string", "pattern": "^(0[23][0-9a-fA-F]{64}|04[0-9a-fA-F]{128})$" },
        }),
        Kind::Upstream | Kind::Proxy | Kind::Collector => {
            json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://" })
        }
        Kind::Variable => json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }),
        Kind::Address | Kind::Path | Kind::Filter | Kind::Pattern => json!({ "type": "string", "minLength": 1 }),
    };
    schema["description"] = format!("{}. Takes {}.", key.doc, key.kind.accepted()).into();
    if let Preset::Is(text) = key.preset {
        schema["default"] = default(key, text);
    }
    schema
}

/// The preset as the file would have it.
fn default(key: &Key, text: &str) -> Value {
    match key.kind {
        Kind::Flag
        | Kind::Count(..)
        | Kind::Rate(..)
        | Kind::Hosts
        | Kind::Origins
        | Kind::Paths
        | Kind::PublicKeys => serde_json::from_str(text).expect("a test makes the schema"),
        _ => text.into(),
    }
}

/// The table of keys in Markdown, by section.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Every key\n\nMade from the same table as the gateway's own checks: `otk-gateway schema --markdown`. What each is good \
         for stands in `gateway.toml`.\n",
    );
    for section in SECTIONS {
        let title = if *section == PASSTHROUGH { format!("[[{section}]]") } else { format!("[{section}]") };
        text += &format!("\n## `{title}`\n\n| key | default | takes | what it is |\n|---|---|---|---|\n");
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            let preset = match key.preset {
                Preset::Required => "required".to_owned(),
                Preset::Unset => "-".to_owned(),
                Preset::Is(preset) => format!("`{preset}`"),
            };
            let accepted = key.kind.accepted().replace('|', "\\|");
            text += &format!("| `{}` | {preset} | {accepted} | {} |\n", key.name(), key.doc);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_beside_the_examples_are_as_they_are_made() {
        let schema = format!("{:#}\n", json_schema());
        assert_eq!(include_str!("../../config/schema.json"), schema, "otk-gateway schema > config/schema.json");
        assert_eq!(
            include_str!("../../config/reference.md"),
            markdown(),
            "otk-gateway schema --markdown > config/reference.md"
        );
    }

    #[test]
    fn every_key_is_in_the_schema_with_its_default() {
        let schema = json_schema();
        for key in KEYS {
            let section = &schema["properties"][key.section()];
            let table = if key.section() == PASSTHROUGH { &section["items"] } else { section };
            let shown = &table["properties"][key.name()];
            assert!(shown["description"].as_str().is_some_and(|text| text.starts_with(key.doc)), "{}", key.path);
            assert_eq!(shown.get("default").is_some(), matches!(key.preset, Preset::Is(_)), "{}", key.path);
        }
    }
}
