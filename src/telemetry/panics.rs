//! What the log says of a panic.
//!
//! The message of a panic may show what the code had in hands, a user name or worse, so it is written only where it
//! cannot. Where it happened always is. Main function: [`tell_the_log`].

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use tracing::error;

/// How the messages begin that the language itself makes, and that show nothing but numbers.
const HARMLESS: &[&str] = &[
    "index out of bounds: the len is ",
    "range start index ",
    "range end index ",
    "slice index starts at ",
    "attempt to ",
    "already borrowed",
    "already mutably borrowed",
    "RefCell already",
    "capacity overflow",
];

/// Lets the log tell of panics, a line each, in place of standard error. A backtrace is part of it where the environment
/// asks for one (`RUST_BACKTRACE=1`).
pub fn tell_the_log() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let backtrace = Backtrace::capture();
        error!(
            thread = thread.name().unwrap_or("?"),
            at = info.location().map(tracing::field::display),
            message = %message(info.payload()),
            backtrace = (backtrace.status() == BacktraceStatus::Captured)
                .then(|| tracing::field::display(&backtrace)),
            "panic: this is a mistake in hairpin"
        );
    }));
}

/// The message, if it can show nothing that the program was given.
fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(literal) = payload.downcast_ref::<&'static str>() {
        return literal;
    }
    payload
        .downcast_ref::<String>()
        .filter(|message| HARMLESS.iter().any(|start| message.starts_with(start)))
        .map_or("not shown", String::as_str)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::message;
    use std::panic::catch_unwind;

    fn said(what: fn()) -> String {
        message(&*catch_unwind(what).unwrap_err()).to_owned()
    }

    #[test]
    fn messages_with_values_in_them_are_not_shown() {
        let shown = ["say nothing", "attempt to subtract with overflow"];
        assert_eq!(said(|| panic!("say nothing")), shown[0]);
        let empty: fn() = || {
            let text = String::from("sécret");
            let _ = text[..2].len();
        };
        assert_eq!(said(empty), "not shown");
        assert_eq!(
            said(|| {
                let secret: Result<(), &str> = Err("secret");
                std::hint::black_box(secret).unwrap();
            }),
            "not shown"
        );
        assert_eq!(
            said(|| panic!("of {}", String::from("secret"))),
            "not shown"
        );
        let past = said(|| {
            let numbers = vec![1, 2];
            let place = numbers.len() + 5;
            let _ = std::hint::black_box(numbers)[place];
        });
        assert_eq!(past, "index out of bounds: the len is 2 but the index is 7");
        assert_eq!(
            said(|| {
                let few = std::hint::black_box(1_u32);
                let _ = std::hint::black_box(few - 2);
            }),
            shown[1]
        );
    }
}
