//! `config/hairpin.toml`, the documented example, and the code agree: on keys and on defaults.
//!
//! The file shows defaults as `# key = value` and examples as `#   key = value`. The keys that exist are asked of the
//! code: an unknown key is refused with a list of those known in its place.

use std::collections::BTreeSet;

use hairpin::config::{self, Settings};

const FILE: &str = include_str!("../config/hairpin.toml");

/// The file with its defaults switched on.
fn defaults() -> String {
    switched_on(|line| line.strip_prefix("# ").filter(|rest| is_toml(rest)))
}

/// The file with its examples switched on.
fn examples() -> String {
    switched_on(|line| line.strip_prefix("#   ").filter(|rest| is_toml(rest)))
}

fn switched_on(uncomment: impl Fn(&str) -> Option<&str>) -> String {
    FILE.lines()
        .map(|line| format!("{}\n", uncomment(line).unwrap_or(line)))
        .collect()
}

/// A header, or `key = value` with a bare key.
fn is_toml(line: &str) -> bool {
    let is_key = |key: &str| {
        !key.is_empty()
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
    };
    let within = |open: &str, close: &str| {
        let inner = line
            .strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close));
        inner.is_some_and(is_key)
    };
    within("[[", "]]")
        || within("[", "]")
        || line.split_once(" = ").is_some_and(|(key, _)| is_key(key))
}

/// What the code knows in a place, as the text of a document with an unknown key in that place; `None` where the place
/// holds no table.
fn known(document: &str) -> Option<Vec<String>> {
    let invalid =
        config::parse(document, "probe.toml").expect_err("an unknown key must be refused");
    let unknown = invalid
        .problems()
        .iter()
        .find(|problem| problem.message().contains("unknown key `zz`"));
    unknown.map(|problem| problem.known().to_vec())
}

/// All paths of keys the code knows below `path`, asking with `wrap`, which puts a value there.
fn keys_below(path: &str, wrap: &dyn Fn(&str) -> String, found: &mut BTreeSet<String>) {
    let shapes: [fn(&str) -> String; 2] = [
        |inner| format!("{{ {inner} }}"),
        |inner| format!("[{{ {inner} }}]"),
    ];
    for shape in shapes {
        let Some(keys) = known(&wrap(&shape("zz = 0"))) else {
            continue;
        };
        for key in keys {
            let below = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            found.insert(below.clone());
            keys_below(
                &below,
                &|value| wrap(&shape(&format!("{key} = {value}"))),
                found,
            );
        }
    }
}

fn keys_of_the_code() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for section in known("zz = 0").expect("there are sections") {
        found.insert(section.clone());
        keys_below(
            &section.clone(),
            &|value| format!("{section} = {value}"),
            &mut found,
        );
    }
    found
}

fn keys_of(table: &toml::Table, path: &str, found: &mut BTreeSet<String>) {
    fn keys_of_value(value: &toml::Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            toml::Value::Table(table) => keys_of(table, path, found),
            toml::Value::Array(array) => array
                .iter()
                .for_each(|value| keys_of_value(value, path, found)),
            _ => {}
        }
    }
    for (key, value) in table {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        keys_of_value(value, &path, found);
        found.insert(path);
    }
}

fn keys_of_text(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys_of(&text.parse().expect("TOML"), "", &mut found);
    found
}

#[test]
fn the_example_file_parses_and_changes_nothing() {
    assert_eq!(
        config::parse(FILE, "hairpin.toml").map_err(|e| e.to_string()),
        Ok(Settings::default())
    );
}

#[test]
fn documented_defaults_are_the_defaults_of_the_code() {
    assert_eq!(
        config::parse(&defaults(), "hairpin.toml").map_err(|e| e.to_string()),
        Ok(Settings::default())
    );
}

#[test]
fn examples_in_the_file_are_right_but_for_the_secrets_they_point_to() {
    if let Err(invalid) = config::parse(&examples(), "hairpin.toml") {
        for problem in invalid.problems() {
            let message = problem.message();
            assert!(
                [
                    "secret file",
                    "there is no credential",
                    "environment variable",
                    "certificate file",
                    "stands in documentation",
                    "cannot read authorities"
                ]
                .iter()
                .any(|source| message.contains(source)),
                "{invalid}"
            );
        }
    }
}

/// The source of a secret is documented once, for all secrets; that of an address in words.
fn is_source(key: &str) -> bool {
    let places = [
        "auth.user.",
        "relay.address.external.",
        "auth.nonce_key.",
        "oauth.key.secret.",
        "accounting.webhook.secret.",
        "tls.acme.external_account.key.",
        "admin.token.token.",
        "credentials.key.token.",
    ];
    places.iter().any(|place| key.starts_with(place))
        && [".file", ".credential", ".env"]
            .iter()
            .any(|source| key.ends_with(source))
}

#[test]
fn every_key_of_the_code_is_documented_and_every_documented_key_exists() {
    let code = keys_of_the_code();
    assert!(code.len() > 50, "the search for keys found only {code:?}");
    let mut file = keys_of_text(&defaults());
    file.extend(keys_of_text(&examples()));
    file.retain(|key| !is_source(key));
    let code: BTreeSet<_> = code.into_iter().filter(|key| !is_source(key)).collect();
    assert_eq!(
        code.difference(&file).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "not in config/hairpin.toml"
    );
    assert_eq!(
        file.difference(&code).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "unknown to the code"
    );
}

#[test]
fn settings_are_shown_by_the_names_of_the_file() {
    let text = "[auth]\nrealm = \"x\"\n[[auth.user]]\nname = \"u\"\npassword = \"a password of some length\"\n\
                [oauth]\nserver_name = \"turn.example.org\"\n[[oauth.key]]\nid = \"k\"\n\
                algorithm = \"A256GCM\"\nsecret = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n";
    let settings = config::parse(text, "hairpin.toml").expect("right");
    let shown = settings.shown();
    assert_eq!(shown["auth"]["user"][0]["name"], "u");
    assert_eq!(shown["oauth"]["key"][0]["id"], "k");
    let is_known = |key: &str| {
        FILE.contains(&format!("{key} = "))
            || FILE.contains(&format!("[{key}]"))
            || FILE.contains(&format!(".{key}]"))
    };
    let unknown: Vec<_> = names(&shown)
        .into_iter()
        .filter(|key| !is_known(key))
        .collect();
    assert_eq!(unknown, [""; 0]);
}

/// All names in it.
fn names(shown: &serde_json::Value) -> BTreeSet<String> {
    match shown {
        serde_json::Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| {
                let mut all = names(value);
                all.insert(name.clone());
                all
            })
            .collect(),
        serde_json::Value::Array(elements) => elements.iter().flat_map(names).collect(),
        _ => BTreeSet::new(),
    }
}
