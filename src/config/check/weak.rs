//! Is a secret one that anybody could guess, or read in a manual?
//!
//! This finds what is surely bad, not what is good: a secret that passes may still be somebody's birthday. No message here
//! contains a secret. Main function: [`weakness`].

/// The fewest bytes of a secret that servers share, of which an attacker who saw one credential can try millions a
/// second.
pub(super) const SHORTEST_SECRET: usize = 16;

/// The fewest bytes of a password.
pub(super) const SHORTEST_PASSWORD: usize = 8;

/// What stands in the documentation of STUN and TURN servers and of what uses them, in this project's own, in RFCs, and
/// what people type before they think. Lower case, without anything but letters and digits.
const WELL_KNOWN: &[&str] = &[
    // This project.
    "alongrandomtext",
    "hairpin",
    "hairpinsecret",
    // Other servers and their guides.
    "crypticsecret",
    "examplesecret",
    "hero",
    "insertyoursecrethere",
    "logen",
    "longandcryptic",
    "muazkh",
    "mycoturnsecret",
    "mypassword",
    "mysecret",
    "mysecretkey",
    "myturnsecret",
    "ninefingers",
    "north",
    "northbynorthwest",
    "openrelayproject",
    "randomvalue",
    "replacethissecret",
    "replaceme",
    "sharedsecret",
    "somepassword",
    "somesecret",
    "staticauthsecret",
    "thisisasecret",
    "turnpassword",
    "turnsecret",
    "turnserver",
    "turnuser",
    "verysecret",
    "yourauthsecret",
    "yourchosengeneratedsecret",
    "yourpassword",
    "yoursecret",
    "yoursecrethere",
    "yoursecretkey",
    "yoursecretkeyhere",
    "yourstaticauthsecret",
    "yourturnsecret",
    "youhavetochoosewisely",
    // RFC 5769, RFC 8489.
    "thematrix",
    "vokjxbrl1rmtxukwvjxbt",
    // Everywhere.
    "abcdefgh",
    "abcdefghijklmnop",
    "admin",
    "administrator",
    "changeit",
    "changeme",
    "changemenow",
    "changethis",
    "changethissecret",
    "default",
    "example",
    "guest",
    "iloveyou",
    "letmein",
    "pass",
    "passphrase",
    "passw0rd",
    "password",
    "pleasechangeme",
    "qwerty",
    "qwertyuiop",
    "s3cret",
    "secret",
    "secretkey",
    "supersecret",
    "supersecretpassword",
    "test",
    "testpassword",
    "testsecret",
    "testtest",
    "topsecret",
    "webrtc",
    "welcome",
];

/// Runs of characters that are typed in a row; a piece of them is no secret.
const RUNS: [&str; 5] = [
    "012345678901234567890123456789",
    "0123456789abcdef0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "987654321098765432109876543210",
    "qwertyuiopasdfghjklzxcvbnm",
];

/// Why a secret is as good as none, to follow after "this secret" or "this password"; `least` is the fewest bytes it may
/// have.
pub(super) fn weakness(secret: &str, least: usize) -> Option<String> {
    let plain: String = secret
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    // Not caring whether it is short as well: this is the better reason.
    let word = plain.trim_matches(|c: char| c.is_ascii_digit());
    if WELL_KNOWN.contains(&plain.as_str()) || WELL_KNOWN.contains(&word) {
        return Some(
            "stands in documentation or in lists of passwords, where everybody finds it".into(),
        );
    }
    if secret.len() < least {
        return Some(format!("is shorter than {least} bytes"));
    }
    let is_run = RUNS.iter().any(|run| run.contains(&plain));
    if is_run || repeats(secret.as_bytes()) {
        return Some("is a few characters over and over, or in a row".into());
    }
    None
}

/// Whether a text is a short piece repeated, or has hardly any different bytes.
fn repeats(text: &[u8]) -> bool {
    let is_period = |period: usize| {
        text.iter()
            .skip(period)
            .zip(text)
            .all(|(later, earlier)| later == earlier)
    };
    let mut different = text.to_vec();
    different.sort_unstable();
    different.dedup();
    different.len() < 4 || (1..=text.len() / 2).any(is_period)
}

/// The keys that stand as examples in this project's documentation, in hexadecimal.
pub(super) const EXAMPLE_KEYS: [&str; 2] = [
    "49d971f381a574c5bf8f231360a306fd",
    "82184daf0934c67d4b1c67d250721d543aabc9e7d6006144fc3e7ea63124985e",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_knows_or_guesses_is_weak() {
        for secret in [
            "north",
            "North!",
            "secret",
            "changeme",
            "Change-Me-123",
            "a long random text",
            "long-and-cryptic",
            "your_secret_here",
            "<yourChosen/GeneratedSecret>",
            "VOkJxbRl1RmTxUk/WvJxBt",
            "shorter than it",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abababababababababababab",
            "tops3crettops3crettops3cret",
            "1234567890123456",
            "0123456789abcdef",
            "abcdefghijklmnopqrstuvwxyz",
            "                    ",
        ] {
            assert!(weakness(secret, SHORTEST_SECRET).is_some(), "{secret}");
        }
    }

    #[test]
    fn random_ones_pass() {
        for seed in 0..2000_u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut hex = String::new();
            while hex.len() < SHORTEST_SECRET {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                hex.push_str(&format!("{:02x}", state >> 56));
            }
            assert_eq!(weakness(&hex, SHORTEST_SECRET), None, "{hex}");
        }
        assert_eq!(weakness("wonderland", SHORTEST_PASSWORD), None);
    }
}
