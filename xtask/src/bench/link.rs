//! A slow network between two servers that are really on one machine.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use xtask::{Result, server};

/// What a line is like.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    pub bits_per_second: f64,
    pub round_trip: Duration,
}

impl Quality {
    /// Seconds that the bytes alone take, however few waits there are.
    pub fn bound(self, traffic: Traffic) -> f64 {
        traffic.received as f64 * 8.0 / self.bits_per_second
    }

    /// The packets that may be under way: a TCP window of 1 MB, or twice what fits on the line.
    fn window(self) -> usize {
        let on_the_line = self.bits_per_second / 8.0 * self.round_trip.as_secs_f64();
        64.max((2.0 * on_the_line / PACKET as f64) as usize)
    }
}

impl std::fmt::Display for Quality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ms and {} Mbit/s", self.round_trip.as_secs_f64() * 1e3, self.bits_per_second / 1e6)
    }
}

/// A proxy in front of a server that delays and throttles what passes. Dropping it ends it.
pub struct Link {
    port: u16,
    line: Arc<Line>,
    ended: Arc<AtomicBool>,
}

/// What passed since the last look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// From the server to its clients, without the headers of TCP and below.
    pub received: u64,
    pub connections: u64,
    pub round_trips: u64,
    /// Of the connection that had the most: those of different connections can pass at the same time.
    pub most_round_trips: u64,
}

impl Link {
    pub fn to(server_port: u16, quality: Quality) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let link = Self {
            port: listener.local_addr()?.port(),
            line: Arc::new(Line::of(quality)),
            ended: Arc::new(AtomicBool::new(false)),
        };
        let (line, ended) = (link.line.clone(), link.ended.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let line = line.clone();
                std::thread::spawn(move || serve(client, server_port, &line));
            }
        });
        Ok(link)
    }

    /// A connection string that leads to the server through the link.
    pub fn dsn(&self, database: &str) -> String {
        server::dsn(self.port, database)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What passed since the last call.
    pub fn take_traffic(&self) -> Traffic {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Traffic {
            received: take(&self.line.to_client.bytes),
            connections: take(&self.line.connections),
            round_trips: take(&self.line.round_trips),
            most_round_trips: take(&self.line.most_round_trips),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The listener looks at the flag only when somebody comes.
        let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)));
    }
}

struct Line {
    quality: Quality,
    to_client: Direction,
    to_server: Direction,
    connections: AtomicU64,
    round_trips: AtomicU64,
    most_round_trips: AtomicU64,
}

impl Line {
    fn of(quality: Quality) -> Self {
        let direction = || Direction { quality, busy_until: Mutex::default(), bytes: AtomicU64::new(0) };
        Self {
            quality,
            to_client: direction(),
            to_server: direction(),
            connections: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            most_round_trips: AtomicU64::new(0),
        }
    }
}

/// One way of a full-duplex line. All connections share its bandwidth.
struct Direction {
    quality: Quality,
    /// When what was accepted so far has left; `None` before the first byte.
    busy_until: Mutex<Option<Instant>>,
    bytes: AtomicU64,
}

impl Direction {
    /// What a router keeps. Without it every late wake-up of ours would be a gap on the line.
    const QUEUE: Duration = Duration::from_millis(5);

    /// Waits until the bytes can be queued and returns when the last of them arrives at the other end.
    fn accept(&self, bytes: usize) -> Instant {
        loop {
            let wait = {
                let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                let start = busy_until.map_or(now, |instant| instant.max(now));
                if start - now <= Self::QUEUE {
                    let left = start + Duration::from_secs_f64(bytes as f64 * 8.0 / self.quality.bits_per_second);
                    *busy_until = Some(left);
                    self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                    return left + self.quality.round_trip / 2;
                }
                start - now - Self::QUEUE
            };
            std::thread::sleep(wait);
        }
    }
}

/// Bytes, and when they arrive.
type Packet = (Vec<u8>, Instant);

const PACKET: usize = 16 * 1024;

/// Whenever the client speaks after the server did, it has had an answer: a round trip.
#[derive(Default)]
struct Turns {
    client_spoke_last: AtomicBool,
    taken: AtomicU64,
}

impl Turns {
    fn client_speaks(&self, line: &Line) {
        if !self.client_spoke_last.swap(true, Ordering::Relaxed) {
            let taken = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
            line.round_trips.fetch_add(1, Ordering::Relaxed);
            line.most_round_trips.fetch_max(taken, Ordering::Relaxed);
        }
    }

    fn server_speaks(&self) {
        self.client_spoke_last.store(false, Ordering::Relaxed);
    }
}

fn serve(client: TcpStream, server_port: u16, line: &Line) {
    // The handshake with us took no time; over a real line it takes a round trip.
    std::thread::sleep(line.quality.round_trip);
    let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], server_port))) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    line.connections.fetch_add(1, Ordering::Relaxed);
    let turns = Turns::default();
    let (to_server, from_client) = sync_channel(line.quality.window());
    let (to_client, from_server) = sync_channel(line.quality.window());
    std::thread::scope(|scope| {
        scope.spawn(|| deliver(from_client, &server));
        scope.spawn(|| deliver(from_server, &client));
        scope.spawn(|| forward(&client, &line.to_server, to_server, || turns.client_speaks(line)));
        forward(&server, &line.to_client, to_client, || turns.server_speaks());
    });
}

/// Puts on the line what is read, until either end closes. A slow receiver holds the sender up, as TCP does.
fn forward(mut from: &TcpStream, direction: &Direction, to: SyncSender<Packet>, noticed: impl Fn()) {
    let mut buffer = vec![0; PACKET];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        noticed();
        let arrival = direction.accept(bytes);
        if to.send((buffer[..bytes].to_vec(), arrival)).is_err() {
            return;
        }
    }
}

fn deliver(packets: Receiver<Packet>, mut to: &TcpStream) {
    for (bytes, arrival) in packets {
        std::thread::sleep(arrival.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
