//! Values that must never reach a log, an error message or a metric.
//!
//! Not a place to keep secrets safe in memory: it only keeps them out of what is printed. Main type: [`Secret`].

use std::fmt;

use serde::{Serialize, Serializer};
use subtle::ConstantTimeEq;

/// A password, shared secret or key: prints `***` whatever way it is formatted or written, compares in constant time.
#[derive(Clone)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    /// Wraps a value so that it cannot be printed by accident.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for computing with it and nothing else.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<T: AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: AsRef<[u8]>> Eq for Secret<T> {}
