//! A port at which something other than a server listens.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Hands each client to a thread of its own, until it is dropped.
pub struct Listener {
    pub port: u16,
    stopped: Arc<AtomicBool>,
}

impl Listener {
    pub fn start(receive: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let receive = Arc::new(receive);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(SeqCst) {
                    return;
                }
                let receive = Arc::clone(&receive);
                std::thread::spawn(move || receive(client));
            }
        });
        Self { port, stopped }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
