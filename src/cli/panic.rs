//! A failure of simctl itself: says what ran and how to see it again.

use std::cell::RefCell;

thread_local! {
    /// What runs on this thread, for the message.
    static RUNNING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Remembers what runs from now on.
pub(super) fn running(plan_hash: &str, seed: u64, command: &str) {
    let plan: String = plan_hash.chars().take(8).collect();
    set(Some(format!("It ran plan {plan} with seed {seed}. To see it again:\n    {command}")));
}

/// Nothing runs any more.
pub(super) fn done() {
    set(None);
}

fn set(text: Option<String>) {
    RUNNING.with_borrow_mut(|running| *running = text);
}

/// Replaces the message of a panic.
pub(super) fn install() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let what = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        let place = info.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
        eprintln!("error: simctl {} failed{place}: {what}", env!("CARGO_PKG_VERSION"));
        let _ = RUNNING.try_with(|running| {
            if let Ok(running) = running.try_borrow()
                && let Some(text) = running.as_ref()
            {
                eprintln!("{text}");
            }
        });
        eprintln!("This is a mistake of simctl, not of the scenario; please report it with these lines.");
        eprintln!("Nothing was left half-written.");
    }));
}
