//! Who may relay: realm, shared secrets, users.
//!
//! Steps of the [`Reader`] of a `turnserver.conf`.

use super::super::draft::{Block, quoted};
use super::super::report::Fate::{Changed, LeftOut, Missing, Taken};
use super::{Given, Reader};

impl Reader<'_> {
    pub(super) fn credentials(&mut self) {
        if let Some(at) = self.last("realm") {
            let realm = quoted(&self.given[at].value);
            self.set(at, "auth", "realm", &realm, Taken, "");
        }
        let stun_only = self.is_on("stun-only");
        self.say_all(
            "stun-only",
            if stun_only { Changed } else { Taken },
            "without a credential nobody relays, and none is taken where this is on",
        );
        let unused = stun_only.then(|| "stun-only".to_owned());
        for at in self.all("static-auth-secret") {
            let secret = quoted(&self.given[at].value);
            let from = self.given[at].from();
            let added = match &unused {
                Some(why) => {
                    self.draft
                        .push_unchecked("auth", "secrets", &secret, &from, unused.clone());
                    Err(why.clone())
                }
                None => self.draft.push("auth", "secrets", &secret, &from),
            };
            match added {
                Ok(()) => self.say(at, Taken, "`secrets` under [auth]"),
                Err(why) => self.say(
                    at,
                    Missing,
                    format!("not used: {why}; make a new one (`openssl rand -base64 32`), here and in the application"),
                ),
            }
        }
        let wants_secret =
            self.is_on("use-auth-secret") || self.last("static-auth-secret").is_some();
        if self.draft.has_key("auth", "secrets") {
            self.say_all("use-auth-secret", Taken, "`secrets` under [auth]");
        } else {
            self.say_all(
                "use-auth-secret",
                Missing,
                "there is no secret to use; those of a database (`turnadmin -S`) go under `secrets` in [auth]",
            );
        }
        let beside =
            wants_secret.then(|| "coturn takes no static users beside shared secrets".to_owned());
        for at in self.all("user") {
            self.user(at, unused.clone().or(beside.clone()));
        }
        if let Some(at) = self.last("stateless-nonce-secret") {
            let key = quoted(&self.given[at].value);
            self.set(at, "auth", "nonce_key", &key, Taken, "");
        }
        if let Some(at) = self.last("rest-api-separator") {
            if self.given[at].value == ":" {
                self.say(at, Taken, "so it is anyway");
            } else {
                self.say(at, Missing, "the separator is always a colon; the application has to make user names with it");
            }
        }
    }

    fn user(&mut self, at: usize, unused: Option<String>) {
        let value = self.given[at].value.clone();
        let Some((name, password)) = value.split_once(':') else {
            self.say(
                at,
                Missing,
                "this is no user name with a password or key behind a colon",
            );
            return;
        };
        let is_again = |given: &Given| {
            let again = given.value.split_once(':').map(|(name, _)| name);
            given.name == "user" && again == Some(name)
        };
        if self.given.iter().skip(at + 1).any(is_again) {
            self.say(at, LeftOut, format!("a later line for {name:?} wins"));
            return;
        }
        let (key, secret) = match password.strip_prefix("0x") {
            Some(key) if key.len() == 64 => ("sha256_key", key),
            Some(key) => ("md5_key", key),
            None => ("password", password),
        };
        let block = Block {
            table: "auth.user",
            lines: vec![
                format!("name = {}", quoted(name)),
                format!("{key} = {}", quoted(secret)),
            ],
            from: self.given[at].from(),
        };
        let added = match unused {
            Some(why) => {
                self.draft.block_refused(block, Some(why.clone()));
                Err(why)
            }
            None => self.draft.block(block),
        };
        let keyed = if key != "password" && self.last("realm").is_none() {
            "; keys are made with the realm, and there is none here: give the one that coturn had"
        } else {
            ""
        };
        match added {
            Ok(()) if keyed.is_empty() => {
                self.say(at, Taken, format!("[[auth.user]] {name:?} with `{key}`"))
            }
            Ok(()) => self.say(
                at,
                Missing,
                format!("[[auth.user]] {name:?} with `{key}`{keyed}"),
            ),
            Err(why) => self.say(
                at,
                Missing,
                format!("[[auth.user]] {name:?} is not used: {why}"),
            ),
        }
    }
}
