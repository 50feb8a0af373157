//! One order, from the authority's directory to a certificate in the folder (RFC 8555, section 7.1).

use super::account::{account, unknown};
use super::courier::{Courier, Unreached};
use super::proofs::Proofs;
use super::{Failure, Outcome, folder, proofs};
use crate::config::{Acme, Certificate, Challenge};
use instant_acme::{
    AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use std::collections::HashMap;
use std::time::Duration;
use tracing::debug;

/// How often the authority is asked whether it is done: soon at first, and then less and less often.
const ASKING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(240));

/// What the authority calls its reason when it was asked too often, and when it wants another nonce.
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

pub(super) async fn certificate(
    settings: &Acme,
    courier: &Courier,
    proofs: &Proofs,
) -> Result<Certificate, Failure> {
    let file = settings.certificate_file();
    // What cannot be kept is not asked for: authorities count.
    folder::check(&file).map_err(|why| Failure::new(Outcome::Failed, why))?;
    let account = account(settings, courier).await?;
    let names: Vec<_> = settings
        .domains
        .iter()
        .map(|name| Identifier::Dns(name.clone()))
        .collect();
    let mut order = match account.new_order(&NewOrder::new(&names)).await {
        Ok(order) => order,
        Err(error) => return Err(unknown(settings, error)),
    };
    debug!(order = order.url(), "ordered");
    prove(settings, &mut order, proofs).await?;
    match order.poll_ready(&ASKING).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(not_proved(&mut order, None).await),
        Err(error) => return Err(not_proved(&mut order, Some(error)).await),
    }
    let key = KeyPair::generate().map_err(|error| Failure::new(Outcome::Failed, error))?;
    let request = request(settings, &key).map_err(|error| Failure::new(Outcome::Failed, error))?;
    order.finalize_csr(&request).await.map_err(refused)?;
    let chain = order.poll_certificate(&ASKING).await.map_err(refused)?;
    let text = format!("{}{chain}", key.serialize_pem());
    let fit = |file: &std::path::Path| {
        let new = Certificate::of_file(file)?;
        let lacks = settings
            .domains
            .iter()
            .find(|name| !new.names().contains(name));
        match lacks {
            Some(name) => Err(format!("the authority's certificate is not for {name}")),
            None => Ok(()),
        }
    };
    let kept = folder::replace(&file, &text, fit);
    kept.map_err(|error| Failure::new(Outcome::Failed, folder::cannot_keep(&file, &error)))?
        .map_err(|why| Failure::new(Outcome::Failed, why))?;
    Certificate::of_file(&file).map_err(|why| Failure::new(Outcome::Failed, why))
}

/// Shows the authority what it is going to look for, and tells it to look.
async fn prove(settings: &Acme, order: &mut Order, proofs: &Proofs) -> Result<(), Failure> {
    let kind = match settings.challenge {
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Http01 => ChallengeType::Http01,
    };
    let (mut certificates, mut texts) = (HashMap::new(), HashMap::new());
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(refused)?;
        let name = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Pending => {}
            // The authority remembers an earlier proof.
            AuthorizationStatus::Valid => continue,
            status => {
                let why = format!("the authority does not look at {name}: {status:?}");
                return Err(Failure::new(Outcome::Rejected, why));
            }
        }
        let Some(challenge) = authorization.challenge(kind.clone()) else {
            let why = format!(
                "the authority does not prove {name} by this `challenge`: set the other one"
            );
            return Err(Failure::new(Outcome::Rejected, why));
        };
        let proof = challenge.key_authorization();
        match settings.challenge {
            Challenge::TlsAlpn01 => {
                let digest = proof.digest();
                let digest: &[u8; 32] = digest
                    .as_ref()
                    .try_into()
                    .map_err(|error| Failure::new(Outcome::Failed, error))?;
                certificates.insert(
                    name.to_ascii_lowercase(),
                    proofs::certificate(&name, digest)?,
                );
            }
            Challenge::Http01 => {
                texts.insert(challenge.token.clone(), proof.as_str().to_owned());
            }
        }
    }
    match settings.challenge {
        Challenge::TlsAlpn01 => proofs.show_certificates(certificates)?,
        Challenge::Http01 => proofs.show_texts(texts),
    }
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(refused)?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(kind.clone())
        {
            challenge.set_ready().await.map_err(refused)?;
        }
    }
    Ok(())
}

/// What the authority saw in place of the proofs.
async fn not_proved(order: &mut Order, error: Option<Error>) -> Failure {
    let mut seen = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let name = state.identifier().to_string();
        let problems = state.challenges.iter().filter_map(|one| one.error.as_ref());
        seen.extend(problems.map(|problem| format!("{name}: {}", words(problem))));
    }
    let mut failure = match error {
        Some(error) => refused(error),
        None => Failure::new(Outcome::Rejected, "the authority does not say why"),
    };
    if !seen.is_empty() {
        failure.outcome = Outcome::Rejected;
        failure.why = seen.join("; ");
    }
    failure
}

/// The request for a certificate, in DER form, for the names and nothing else.
fn request(settings: &Acme, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(settings.domains.clone())?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// What an error of the protocol means.
pub(super) fn refused(error: Error) -> Failure {
    match error {
        Error::Api(problem) => {
            let outcome = match (problem.r#type.as_deref(), problem.status) {
                (Some(RATE_LIMITED), _) | (_, Some(429)) => Outcome::Limited,
                // Again and again, in spite of new ones.
                (Some(BAD_NONCE), _) => Outcome::Unreachable,
                (_, Some(500..)) => Outcome::Unreachable,
                _ => Outcome::Rejected,
            };
            Failure::new(outcome, words(&problem))
        }
        Error::Timeout(then) => Failure {
            wait: then.map(|then| then.saturating_duration_since(std::time::Instant::now())),
            ..Failure::new(Outcome::Unreachable, "the authority was not done in time")
        },
        Error::Other(error) => match error.downcast::<Unreached>() {
            Ok(unreached) => Failure::new(Outcome::Unreachable, unreached),
            Err(other) => Failure::new(Outcome::Failed, other),
        },
        error => Failure::new(
            Outcome::Unreachable,
            format!("the authority is not understood: {error}"),
        ),
    }
}

/// A problem in one line. What an authority says is cut short where it goes on and on.
fn words(problem: &instant_acme::Problem) -> String {
    const MOST: usize = 600;
    let mut text = problem.detail.clone().unwrap_or_default();
    for part in &problem.subproblems {
        text = format!("{text} {part}");
    }
    if let Some(kind) = &problem.r#type {
        let kind = kind
            .strip_prefix("urn:ietf:params:acme:error:")
            .unwrap_or(kind);
        text = format!("{text} ({kind})");
    }
    let line: String = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MOST)
        .collect();
    line
}
