//! Waiting for the network without blocking the server's interrupts.

use super::interrupts;
use crate::error::{Error, Result};
use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The longest wait between two looks at the server's interrupt flags.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);

/// A runtime on the calling thread.
pub struct Network(Option<Runtime>);

impl Network {
    pub fn start() -> Result<Self> {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(|error| Error::internal(format!("could not start the network runtime: {error}")))
    }

    pub fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("only dropping takes it")
    }

    /// Waits on the server's main thread. A cancel or a termination raises its ERROR here, outside of the runtime.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            if let Some(value) = self.wait_at_most(INTERRUPT_INTERVAL, future.as_mut()) {
                return value;
            }
            interrupts::check();
        }
    }

    /// Waits without looking at interrupts; returns `None` when the time is over first.
    pub fn wait_at_most<T>(&self, longest: Duration, future: impl Future<Output = T>) -> Option<T> {
        // The runtime looks up host names in threads of its own, which inherit the blocked signals.
        let _held = HeldSignals::hold();
        self.runtime().block_on(async { tokio::time::timeout(longest, future).await }).ok()
    }
}

impl Drop for Network {
    /// Does not wait for a thread that still looks up a host name: that would delay a cancel.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Blocks all signals but those of faults, for this thread and the threads that it starts, while it lives. Signals that
/// arrive meanwhile are delivered afterwards: the server's handlers must run on its main thread.
pub struct HeldSignals(libc::sigset_t);

impl HeldSignals {
    pub fn hold() -> Self {
        let mut held = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets are filled before they are read; the calls only touch this thread's mask.
        unsafe {
            libc::sigfillset(held.as_mut_ptr());
            for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT] {
                libc::sigdelset(held.as_mut_ptr(), fault);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, held.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: the set is the mask that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}
