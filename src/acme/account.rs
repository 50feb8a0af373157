//! The account with the authority: made once, kept in the folder, its contacts kept up to date.

use super::courier::Courier;
use super::order::refused;
use super::{Failure, Outcome, folder};
use crate::config::Acme;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::io::ErrorKind;
use tracing::info;

/// What the authority calls its reason when it does not know an account.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// An account as it is kept.
#[derive(Deserialize, Serialize)]
struct Kept {
    contact: Vec<String>,
    /// What the authority calls the account of the operator that this one belongs to.
    external_account: Option<String>,
    /// Its URL and its private key.
    account: AccountCredentials,
}

/// The account of these settings: that of the folder, or a new one.
pub(super) async fn account(settings: &Acme, courier: &Courier) -> Result<Account, Failure> {
    let builder = || Account::builder_with_http(Box::new(courier.clone()));
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    let external = settings.external_account.as_ref();
    let external_id = external.map(|external| external.id.clone());
    let kept = read(settings)?.filter(|kept| kept.external_account == external_id);
    if let Some(mut kept) = kept {
        let is_same = kept.contact == settings.contact;
        let text = if is_same {
            None
        } else {
            kept.contact.clone_from(&settings.contact);
            Some(write(&kept)?)
        };
        let account = builder()
            .from_credentials(kept.account)
            .await
            .map_err(refused)?;
        if let Some(text) = text {
            let updated = account.update_contacts(&contact).await;
            updated.map_err(|error| unknown(settings, error))?;
            keep(settings, &text)?;
        }
        return Ok(account);
    }
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let key = match external {
        None => None,
        Some(external) => {
            let text = external.key.expose().trim_end_matches('=');
            let key = BASE64_URL_SAFE_NO_PAD.decode(text);
            let key = key.map_err(|error| Failure::new(Outcome::Failed, error))?;
            Some(ExternalAccountKey::new(external.id.clone(), &key))
        }
    };
    let made = builder().create(&new, settings.directory.clone(), key.as_ref());
    let (account, credentials) = made.await.map_err(refused)?;
    let kept = Kept {
        contact: settings.contact.clone(),
        external_account: external_id,
        account: credentials,
    };
    keep(settings, &write(&kept)?)?;
    info!(
        directory = settings.directory,
        account = account.id(),
        "an account with the authority was made"
    );
    Ok(account)
}

/// What an error means that may be about the account: one that the authority does not know any more is forgotten, so that
/// the next order makes another.
pub(super) fn unknown(settings: &Acme, error: Error) -> Failure {
    if matches!(&error, Error::Api(problem) if problem.r#type.as_deref() == Some(NO_ACCOUNT)) {
        // An empty file is one that is not there; files are not removed behind the sandbox.
        let _ = keep(settings, "");
    }
    refused(error)
}

fn read(settings: &Acme) -> Result<Option<Kept>, Failure> {
    let file = settings.account_file();
    let failed = |why: &dyn std::fmt::Display| {
        let why = format!("the account in {} cannot be used: {why}", file.display());
        Failure::new(Outcome::Failed, why)
    };
    match std::fs::read_to_string(&file) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| failed(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

fn write(kept: &Kept) -> Result<String, Failure> {
    serde_json::to_string_pretty(kept).map_err(|error| Failure::new(Outcome::Failed, error))
}

fn keep(settings: &Acme, text: &str) -> Result<(), Failure> {
    let file = settings.account_file();
    match folder::replace(&file, text, |_| Ok::<(), Infallible>(())) {
        Ok(Ok(())) => Ok(()),
        Err(error) => Err(Failure::new(
            Outcome::Failed,
            folder::cannot_keep(&file, &error),
        )),
    }
}
