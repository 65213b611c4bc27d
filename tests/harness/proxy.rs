//! A way to the source that can be disturbed.

use socket2::{Domain, SockRef, Socket, Type};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What becomes of bytes that the source sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Forward = 0,
    /// The connections stay, but nothing passes, in either direction.
    Silent = 1,
    /// Other bytes of the same number.
    Garbage = 2,
    /// The connection is cut as a crashing peer's is.
    Reset = 3,
    /// The connection ends in good order, though in the middle.
    Close = 4,
}

/// Listens on a port of its own and forwards to the source.
pub struct Proxy {
    address: String,
    port: u16,
    control: Arc<Control>,
}

struct Control {
    target: u16,
    mode: AtomicU8,
    /// The mode holds for connections that have brought so many bytes; others are left alone.
    after_bytes: AtomicU64,
    stopped: AtomicBool,
    /// Connections to the client that the mode has hit.
    hit: AtomicU64,
    sockets: Mutex<Vec<TcpStream>>,
    /// What passed in both directions, once that is asked for.
    record: Mutex<Option<Vec<u8>>>,
    /// Bytes of the source that pass in a second, on all connections together; 0 for as many as come.
    rate: AtomicU64,
    /// The time at which the next bytes of the source may pass.
    next: Mutex<Instant>,
    /// Bytes of the source that have passed.
    passed: AtomicU64,
}

impl Proxy {
    pub fn start(target: u16) -> Self {
        Self::at("127.0.0.1", target)
    }

    pub fn at(address: &str, target: u16) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let control = Arc::new(Control {
            target,
            mode: AtomicU8::new(Mode::Forward as u8),
            after_bytes: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            hit: AtomicU64::new(0),
            sockets: Mutex::default(),
            record: Mutex::default(),
            rate: AtomicU64::new(0),
            next: Mutex::new(Instant::now()),
            passed: AtomicU64::new(0),
        });
        let shared = Arc::clone(&control);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.stopped.load(SeqCst) {
                    return;
                }
                if let Ok(server) = shared.connect() {
                    shared.forward(client, server);
                }
            }
        });
        Self { address: address.to_owned(), port, control }
    }

    /// The connection string of a database behind it.
    pub fn dsn(&self, database: &str) -> String {
        format!("host={} port={} user=postgres dbname={database}", self.address, self.port)
    }

    /// From now on, on every connection that brings, or has brought, so many bytes.
    pub fn disturb(&self, mode: Mode, after_bytes: u64) {
        self.control.after_bytes.store(after_bytes, SeqCst);
        self.control.mode.store(mode as u8, SeqCst);
    }

    /// Keeps from now on what passes in both directions.
    pub fn record(&self) {
        *self.control.record.lock().unwrap() = Some(Vec::new());
    }

    /// Returns what has passed since [`Self::record`].
    pub fn recorded(&self) -> Vec<u8> {
        self.control.record.lock().unwrap().clone().expect("a record was asked for")
    }

    /// From now on a slow link: so many bytes of the source pass in a second.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.control.rate.store(bytes_per_second, SeqCst);
    }

    /// Bytes of the source that have passed so far.
    pub fn passed(&self) -> u64 {
        self.control.passed.load(SeqCst)
    }

    /// Connections that were disturbed so far.
    pub fn hit(&self) -> u64 {
        self.control.hit.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.control.stopped.store(true, SeqCst);
        for socket in self.control.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        // The listener wakes up.
        let _ = TcpStream::connect((self.address.as_str(), self.port));
    }
}

/// One connection, in both directions.
#[derive(Default)]
struct Connection {
    brought: AtomicU64,
    is_reset: AtomicBool,
}

impl Control {
    fn forward(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let connection = Arc::new(Connection::default());
        let pairs = [(client.try_clone(), server.try_clone(), false), (server.try_clone(), client.try_clone(), true)];
        self.sockets.lock().unwrap().extend([client, server]);
        for (from, to, from_server) in pairs {
            let (Ok(from), Ok(to)) = (from, to) else { return };
            let (control, connection) = (Arc::clone(self), Arc::clone(&connection));
            std::thread::spawn(move || control.pump(from, to, from_server, &connection));
        }
    }

    /// A slow link must be felt before megabytes have gone into buffers.
    fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if self.rate.load(SeqCst) > 0 {
            socket.set_recv_buffer_size(64 * 1024)?;
        }
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], self.target)).into())?;
        Ok(socket.into())
    }

    /// Waits until bytes of the source may pass.
    fn pass(&self, bytes: u64) {
        self.passed.fetch_add(bytes, SeqCst);
        let rate = self.rate.load(SeqCst);
        if rate == 0 {
            return;
        }
        let wait = {
            let mut next = self.next.lock().unwrap();
            let now = Instant::now();
            let begins = (*next).max(now);
            *next = begins + Duration::from_secs_f64(bytes as f64 / rate as f64);
            begins - now
        };
        std::thread::sleep(wait);
    }

    fn mode(&self, brought: u64) -> u8 {
        if brought >= self.after_bytes.load(SeqCst) { self.mode.load(SeqCst) } else { Mode::Forward as u8 }
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, from_server: bool, connection: &Connection) {
        let mut buffer = [0; 8192];
        let mut was_hit = false;
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                break;
            }
            if from_server {
                self.pass(count as u64);
            }
            if let Some(record) = self.record.lock().unwrap().as_mut() {
                record.extend_from_slice(&buffer[..count]);
            }
            let brought = &connection.brought;
            let total = if from_server { brought.fetch_add(count as u64, SeqCst) } else { brought.load(SeqCst) };
            let mode = self.mode(total);
            if mode != Mode::Forward as u8 && !was_hit {
                was_hit = true;
                self.hit.fetch_add(1, SeqCst);
            }
            if mode == Mode::Silent as u8 {
                while !self.stopped.load(SeqCst) && self.mode(total) == Mode::Silent as u8 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            } else if mode == Mode::Garbage as u8 && from_server {
                for (position, byte) in buffer[..count].iter_mut().enumerate() {
                    *byte = (position * 37 + 5) as u8;
                }
            } else if mode == Mode::Reset as u8 {
                connection.is_reset.store(true, SeqCst);
                for socket in [&to, &from] {
                    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
                    // Wakes the other direction without saying goodbye.
                    let _ = socket.shutdown(Shutdown::Read);
                    self.forget(socket);
                }
                return;
            } else if mode == Mode::Close as u8 {
                let _ = to.write_all(&buffer[..count / 2]);
                break;
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        if !connection.is_reset.load(SeqCst) {
            // A handle that stays open would leave a server waiting that sends to a full buffer.
            self.forget(&to);
            self.forget(&from);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }
    }

    /// A socket is reset only when its last handle is closed.
    fn forget(&self, socket: &TcpStream) {
        let peer = socket.peer_addr().ok();
        self.sockets.lock().unwrap().retain(|other| other.peer_addr().ok() != peer);
    }
}
