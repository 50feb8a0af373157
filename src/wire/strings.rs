//! Preparation of user names, realms and passwords before they are hashed (RFC 8489 §9.2.2).

use precis_profiles::precis_core::profile::Profile;
use std::borrow::Cow;

/// OpaqueString (RFC 8265 §4), which RFC 8489 uses; `None` when the text is not allowed by it.
///
/// Plain ASCII comes back unchanged.
#[must_use]
pub fn opaque(text: &str) -> Option<Cow<'_, str>> {
    precis_profiles::OpaqueString::new().enforce(text).ok()
}

/// SASLprep (RFC 4013), which RFC 5389 used; `None` when the text is not allowed by it.
///
/// Passwords that were provisioned for older clients may only match in this form.
#[must_use]
pub fn saslprep(text: &str) -> Option<Cow<'_, str>> {
    stringprep::saslprep(text).ok()
}
