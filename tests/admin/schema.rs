//! As much of JSON Schema as `openapi.json` uses. A word that is not understood is an error, so that nothing goes
//! unchecked.

use serde_json::Value;

/// What is wrong with a value.
pub fn problems(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, value, "$", &mut found);
    found
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let words = schema.as_object().unwrap();
    for (word, said) in words {
        match word.as_str() {
            "description" => {}
            "$ref" => {
                let path = said.as_str().unwrap().strip_prefix('#').unwrap();
                let meant = document.pointer(path).expect(path);
                check(document, meant, value, at, found);
            }
            "type" => {
                let is_right = match said {
                    Value::String(kind) => is_of(kind, value),
                    Value::Array(kinds) => kinds.iter().any(|k| is_of(k.as_str().unwrap(), value)),
                    other => panic!("{other}"),
                };
                if !is_right {
                    found.push(format!("{at}: {value} is not {said}"));
                }
            }
            "enum" => {
                if !said.as_array().unwrap().contains(value) {
                    found.push(format!("{at}: {value} is none of {said}"));
                }
            }
            "minimum" | "maximum" => {
                let (number, bound) = (value.as_i64(), said.as_i64().unwrap());
                let is_right = number.is_none_or(|number| {
                    (word == "minimum" && number >= bound) || (word == "maximum" && number <= bound)
                });
                if !is_right {
                    found.push(format!("{at}: {value} against {word} {bound}"));
                }
            }
            "pattern" => {
                assert_eq!(said, "^[0-9a-f]{16}$");
                let text = value.as_str().unwrap_or_default();
                let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                if text.len() != 16 || !text.chars().all(is_digit) {
                    found.push(format!("{at}: {value} against {said}"));
                }
            }
            "required" => {
                for name in said.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        found.push(format!("{at}: no {name}"));
                    }
                }
            }
            "properties" => {
                for (name, schema) in said.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(document, schema, value, &format!("{at}.{name}"), found);
                    }
                }
            }
            "additionalProperties" => {
                let known = words.get("properties").and_then(Value::as_object);
                for name in value
                    .as_object()
                    .into_iter()
                    .flat_map(|object| object.keys())
                {
                    let is_known = known.is_some_and(|known| known.contains_key(name));
                    if said == &Value::Bool(false) && !is_known {
                        found.push(format!("{at}: {name} is not described"));
                    }
                }
            }
            "items" => {
                for (place, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, said, value, &format!("{at}[{place}]"), found);
                }
            }
            other => panic!("unknown word {other}"),
        }
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let text = r##"{"a":{"type":"object","required":["n"],"additionalProperties":false,
        "properties":{"n":{"type":"integer","minimum":1},"list":{"type":"array","items":{"$ref":"#/b"}}}},
        "b":{"enum":["x"]}}"##;
    let document: Value = serde_json::from_str(text).unwrap();
    let count = |value: &str| {
        let value = serde_json::from_str(value).unwrap();
        problems(&document, &document["a"], &value).len()
    };
    assert_eq!(count(r#"{"n":1,"list":["x"]}"#), 0);
    for wrong in [
        "[]",
        r#"{"list":[]}"#,
        r#"{"n":0}"#,
        r#"{"n":"1"}"#,
        r#"{"n":1,"list":["y"]}"#,
        r#"{"n":1,"m":1}"#,
    ] {
        assert!(count(wrong) > 0, "{wrong}");
    }
}
