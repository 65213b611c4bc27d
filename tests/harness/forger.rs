//! A source that lies: a real one behind somebody who rewrites what it says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A message of the real source.
pub struct Message<'a> {
    pub kind: u8,
    /// What follows the length.
    pub body: &'a [u8],
    /// The commands that the client sent last; empty before the first ones.
    pub query: &'a str,
    /// How many messages of this kind have come since then, this one not counted.
    pub number: u64,
}

/// What the client gets in its place.
pub enum Forged {
    Same,
    Bytes(Vec<u8>),
    /// The same bytes until the client goes away.
    Endless(Vec<u8>),
    /// The same bytes so many times.
    Repeated(Vec<u8>, u64),
    /// Nothing, while the connection stays open.
    Silence,
}

/// Decides about each message of the real source.
pub type Forge = dyn Fn(&Message<'_>) -> Forged + Send + Sync;

pub struct Forger {
    port: u16,
    stopped: Arc<AtomicBool>,
    forged: Arc<AtomicU64>,
}

impl Forger {
    /// Listens on a port of its own and forwards to the real source.
    pub fn start(target: u16, forge: impl Fn(&Message<'_>) -> Forged + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stopped, forged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count, forge) = (Arc::clone(&stopped), Arc::clone(&forged), Arc::new(forge) as Arc<Forge>);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(SeqCst) {
                    return;
                }
                let (forge, stop, count) = (Arc::clone(&forge), Arc::clone(&stop), Arc::clone(&count));
                std::thread::spawn(move || {
                    let _ = converse(client, target, &forge, &stop, &count);
                });
            }
        });
        Self { port, stopped, forged }
    }

    pub fn dsn(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname={database} sslmode=disable", self.port)
    }

    /// Messages that were not forwarded as they are.
    pub fn forged(&self) -> u64 {
        self.forged.load(SeqCst)
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A message of a server, with its length.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    announced(kind, body.len() as i64, body)
}

/// A message whose length is not that of its content.
pub fn announced(kind: u8, length: i64, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &((length + 4) as u32).to_be_bytes(), body].concat()
}

/// An error, or a notice, of the given texts.
pub fn report(kind: u8, message_text: &str, detail: &str, hint: &str) -> Vec<u8> {
    let fields = [("S", "ERROR"), ("V", "ERROR"), ("C", "22023"), ("M", message_text), ("D", detail), ("H", hint)];
    let body: String = fields.iter().map(|(field, text)| format!("{field}{text}\0")).collect();
    message(kind, format!("{body}\0").as_bytes())
}

/// The beginning of a stream of binary COPY.
pub const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

fn converse(
    client: TcpStream,
    target: u16,
    forge: &Arc<Forge>,
    stopped: &Arc<AtomicBool>,
    count: &Arc<AtomicU64>,
) -> std::io::Result<()> {
    let mut from_client = client.try_clone()?;
    let mut server = TcpStream::connect(("127.0.0.1", target))?;
    // The startup message has no type.
    let mut length = [0; 4];
    from_client.read_exact(&mut length)?;
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
    from_client.read_exact(&mut startup)?;
    server.write_all(&[&length[..], &startup].concat())?;
    let query: Arc<Mutex<(String, [u64; 256])>> = Arc::new(Mutex::new((String::new(), [0; 256])));
    let from_server = server.try_clone()?;
    let backward = {
        let (query, forge, stopped, count) =
            (Arc::clone(&query), Arc::clone(forge), Arc::clone(stopped), Arc::clone(count));
        let client = client.try_clone()?;
        std::thread::spawn(move || {
            let _ = answer(&client, from_server, &query, &*forge, &stopped, &count);
            let _ = client.shutdown(Shutdown::Both);
        })
    };
    while let Ok((kind, body)) = read_message(&mut from_client) {
        if kind == b'Q' {
            let text = String::from_utf8_lossy(body.strip_suffix(&[0]).unwrap_or(&body)).into_owned();
            *query.lock().unwrap() = (text, [0; 256]);
        }
        if server.write_all(&message(kind, &body)).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = backward.join();
    Ok(())
}

fn read_message(from: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    from.read_exact(&mut header)?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize - 4;
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((header[0], body))
}

fn answer(
    mut client: &TcpStream,
    mut server: TcpStream,
    query: &Mutex<(String, [u64; 256])>,
    forge: &Forge,
    stopped: &AtomicBool,
    count: &AtomicU64,
) -> std::io::Result<()> {
    loop {
        let (kind, body) = read_message(&mut server)?;
        let forged = {
            let (query, numbers) = &mut *query.lock().unwrap();
            let number = numbers[usize::from(kind)];
            numbers[usize::from(kind)] += 1;
            forge(&Message { kind, body: &body, query, number })
        };
        if !matches!(forged, Forged::Same) {
            count.fetch_add(1, SeqCst);
        }
        match forged {
            Forged::Same => client.write_all(&message(kind, &body))?,
            Forged::Bytes(bytes) => client.write_all(&bytes)?,
            Forged::Endless(bytes) => {
                while !stopped.load(SeqCst) {
                    client.write_all(&bytes)?;
                }
            }
            Forged::Repeated(bytes, times) => {
                for _ in 0..times {
                    client.write_all(&bytes)?;
                }
            }
            Forged::Silence => {
                while !stopped.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}
