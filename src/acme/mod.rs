//! Certificates that an authority is asked for by the ACME protocol (RFC 8555).
//!
//! Here is what it takes to get one: an account with the authority, an order, the proof that the names are this server's,
//! and a folder in which account and certificate outlive the process. When the next one is due is [`schedule`]'s. Who is
//! shown a certificate is not decided here, and neither is whether one is asked for again: the service does both. The
//! protocol itself is the crate `instant-acme`'s, over hairpin's own HTTP.
//!
//! Everything that takes rights or reads the system is done by [`Office::open`], before those are given up. Main types:
//! [`Office`], [`Failure`], [`Outcome`].

mod account;
mod courier;
mod folder;
mod order;
mod proofs;
pub mod schedule;
mod wellknown;

use crate::config::{self, Certificate};
use crate::net::handed::Handed;
use crate::net::outgoing::Outgoing;
use crate::net::tls::Tls;
use courier::Courier;
use hyper::Uri;
use proofs::Proofs;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long an order may take, with all that is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a certificate.
    Issued,
    /// The authority does not give one: a name was not proved, or it does not want to.
    Rejected,
    /// The authority was asked too often.
    Limited,
    /// It does not answer, or makes no sense.
    Unreachable,
    /// What came of it could not be kept or used here.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 5] = [
        Outcome::Issued,
        Outcome::Rejected,
        Outcome::Limited,
        Outcome::Unreachable,
        Outcome::Failed,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Issued => "issued",
            Outcome::Rejected => "rejected",
            Outcome::Limited => "limited",
            Outcome::Unreachable => "unreachable",
            Outcome::Failed => "failed",
        }
    }
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// What kind of failure it is; never [`Outcome::Issued`].
    pub outcome: Outcome,
    /// What happened, in a sentence.
    pub why: String,
    /// How long the authority wants to be left alone.
    pub wait: Option<Duration>,
}

impl Failure {
    fn new(outcome: Outcome, why: impl ToString) -> Self {
        Failure {
            outcome,
            why: why.to_string(),
            wait: None,
        }
    }
}

/// What certificates are asked for with: the way to the authority, and what it is shown.
pub struct Office {
    http: Arc<Outgoing>,
    proofs: Arc<Proofs>,
    listeners: Vec<Arc<TcpListener>>,
}

impl Office {
    /// Reads what is needed of the system, makes the folder, and listens for the authority where that is wanted and was not
    /// `handed` over. `owner` is the user and the group that the process is about to become, if it is.
    ///
    /// # Errors
    /// A sentence that says what cannot be had.
    pub fn open(
        settings: &config::Acme,
        tls: Option<Arc<Tls>>,
        owner: Option<(u32, u32)>,
        handed: &mut Handed,
    ) -> Result<Office, String> {
        let directory: Uri = settings
            .directory
            .parse()
            .map_err(|error| format!("`directory` under [tls.acme] is no URL: {error}"))?;
        let http = Outgoing::new(&directory, settings.directory_ca.as_deref()).map_err(|why| {
            format!(
                "{} cannot be asked for a certificate: {why}",
                settings.directory
            )
        })?;
        folder::prepare(&settings.state, owner)?;
        let mut listeners = Vec::new();
        for address in &settings.http_addresses {
            listeners.push(Arc::new(wellknown::listen(*address, handed)?));
        }
        Ok(Office {
            http: Arc::new(http),
            proofs: Arc::new(Proofs::new(tls)),
            listeners,
        })
    }

    /// Whether what comes of an order can be kept; to be asked as the user that the process goes on as.
    ///
    /// # Errors
    /// A sentence with the file that cannot be written.
    pub fn check_folder(settings: &config::Acme) -> Result<(), String> {
        folder::check(&settings.certificate_file())
    }

    /// Asks the authority for a certificate, proves the names, and keeps what it gives.
    ///
    /// # Errors
    /// A [`Failure`]; what was kept before then is as it was.
    pub async fn ask(&self, settings: &config::Acme) -> Result<Certificate, Failure> {
        let courier = Courier::new(self.http.clone());
        // A task of its own: what an authority answers can be too much for those who read it, and the server has to
        // outlive that. It ends with this set.
        let mut order = JoinSet::new();
        {
            let (settings, courier, proofs) =
                (settings.clone(), courier.clone(), self.proofs.clone());
            order.spawn(async move { order::certificate(&settings, &courier, &proofs).await });
        }
        let ended = timeout(PATIENCE, order.join_next()).await;
        // Nobody shows anything from here on.
        order.shutdown().await;
        self.proofs.withdraw();
        let mut answered = match ended {
            Ok(Some(Ok(answered))) => answered,
            Ok(_) => Err(Failure::new(
                Outcome::Unreachable,
                "the authority's answer could not be worked with: reading it ended in a panic, which the log tells of \
                 before this; all else goes on",
            )),
            Err(_) => Err(Failure::new(
                Outcome::Unreachable,
                format!(
                    "the authority was not done within {} minutes",
                    PATIENCE.as_secs() / 60
                ),
            )),
        };
        if let Err(failure) = &mut answered {
            failure.wait = failure.wait.max(courier.wait());
        }
        answered
    }

    /// Answers authorities that look over HTTP, for as long as it is polled.
    pub async fn answer(&self) {
        wellknown::serve(&self.listeners, &self.proofs).await;
    }
}
