//! Users whose allocations are for trying the server out: what they send goes to each other's relayed addresses on this very
//! server and nowhere else, and they hold few of them.
//!
//! The tester gives such names to whoever opens its page, so that a credential anybody can have is no relay for anybody.
//! The confinement hangs on the name, whoever made it. Main items: [`TESTERS`], [`is_confined`].

/// The group they are; their names begin with it, and a colon.
pub const TESTERS: &str = "tester";

/// How many allocations one of them may have at a time: two clients, each with some interfaces, and what a bad line left
/// over.
pub const CONFINED_ALLOCATIONS: u32 = 16;

/// Whether a user is one of them; by the part of an ephemeral name that quotas go by.
#[must_use]
pub fn is_confined(user: &str) -> bool {
    let group = user.split_once(':').map(|(group, _)| group);
    group == Some(TESTERS)
}
