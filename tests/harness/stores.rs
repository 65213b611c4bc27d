//! Servers that files are read from: an S3-compatible store, and a web server that does what a test wants.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use xtask::python;

const MOTO: &str = "moto[server]==5.2.5";

/// An S3-compatible server (moto) with one user. Dropping it stops it.
pub struct S3 {
    process: Child,
    port: u16,
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl S3 {
    pub fn start(bucket: &str) -> Self {
        let programs = python::environment(&[MOTO]).expect("moto is installed");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // It ends with us, however we end.
        let process = Command::new("setpriv")
            .arg("--pdeathsig=TERM")
            .arg(programs.join("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            // Until requests must be signed.
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "1000000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto starts");
        let mut s3 = Self { process, port, access_key_id: String::new(), secret_access_key: String::new() };
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "moto does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        s3.send("PUT", &format!("/{bucket}"), "s3", b"");
        s3.manage("Action=CreateUser&UserName=app");
        let answer = s3.manage("Action=CreateAccessKey&UserName=app");
        let between = |tag: &str| {
            let start = answer.find(&format!("<{tag}>")).expect("a key") + tag.len() + 2;
            answer[start..].split('<').next().unwrap().to_owned()
        };
        s3.access_key_id = between("AccessKeyId");
        s3.secret_access_key = between("SecretAccessKey");
        s3.manage(
            "Action=PutUserPolicy&UserName=app&PolicyName=reads&PolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C\
             %22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3A%2A%22%2C%22Resource%22%3A%22\
             %2A%22%7D%5D%7D",
        );
        s3
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Stores an object; the key is percent-encoded. Only until signatures are checked.
    pub fn put(&self, bucket: &str, key: &str, content: &[u8]) {
        self.send("PUT", &format!("/{bucket}/{key}"), "s3", content);
    }

    /// From now on every request must be signed by the user.
    pub fn check_signatures(&self) {
        self.send("POST", "/moto-api/reset-auth", "s3", b"0");
    }

    fn manage(&self, form: &str) -> String {
        self.send("POST", "/", "iam", format!("{form}&Version=2010-05-08").as_bytes())
    }

    fn send(&self, method: &str, path: &str, service: &str, body: &[u8]) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let content_type = if service == "iam" { "application/x-www-form-urlencoded" } else { "text/plain" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: {content_type}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=any/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=any\r\n\r\n",
            self.port,
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(body).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        answer
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a web server does for one path.
#[derive(Debug, Clone)]
pub enum Page {
    /// A file, in parts if asked for.
    File(Vec<u8>),
    /// A file, always as a whole.
    WithoutRanges(Vec<u8>),
    /// A file for those who send this header line.
    Guarded(String, Vec<u8>),
    /// An answer of this status with this body.
    Status(u16, String),
    /// Fails so many times with status 503, then is a file.
    Flaky(u32, Vec<u8>),
    Redirect(String),
    /// Takes the request and never answers.
    Hang,
}

/// A web server on a thread of its own. Its connections end with the test's process.
pub struct WebServer {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    pages: Mutex<HashMap<String, Page>>,
    /// Whole request heads.
    requests: Mutex<Vec<String>>,
}

impl WebServer {
    pub fn start<const N: usize>(pages: [(&str, Page); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let server = Self { port, shared: Arc::clone(&shared) };
        for (path, page) in pages {
            server.put(path, page);
        }
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(connection, &shared));
            }
        });
        server
    }

    pub fn put(&self, path: &str, page: Page) {
        self.shared.pages.lock().unwrap().insert(path.into(), page);
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The heads of the requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }
}

fn serve(mut connection: TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    shared.requests.lock().unwrap().push(head.clone());
    let mut words = head.split_whitespace();
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next()?.to_owned();
    let headers: BTreeMap<String, String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let page = {
        let mut pages = shared.pages.lock().unwrap();
        match pages.get_mut(&path) {
            Some(Page::Flaky(failures, _)) if *failures > 0 => {
                *failures -= 1;
                Page::Status(503, String::new())
            }
            Some(page) => page.clone(),
            None => Page::Status(404, String::new()),
        }
    };
    let range = headers.get("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    });
    let (status, extra, body) = match page {
        Page::Hang => {
            std::thread::park();
            return None;
        }
        Page::Redirect(to) => (302, format!("Location: {to}\r\n"), Vec::new()),
        Page::Status(status, body) => (status, String::new(), body.into_bytes()),
        Page::WithoutRanges(content) => (200, String::new(), content),
        Page::Guarded(line, _) if !head.contains(&line) => (401, String::new(), Vec::new()),
        Page::File(content) | Page::Flaky(_, content) | Page::Guarded(_, content) => match range {
            Some((first, _)) if first >= content.len() => (416, String::new(), Vec::new()),
            Some((first, last)) => {
                let last = last.min(content.len() - 1);
                let extra = format!("Content-Range: bytes {first}-{last}/{}\r\n", content.len());
                (206, extra, content[first..=last].to_vec())
            }
            None => (200, String::new(), content),
        },
    };
    let mut answer = format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n{extra}", body.len());
    let _ = write!(answer, "Accept-Ranges: bytes\r\nLast-Modified: Sat, 01 Nov 2025 00:00:00 GMT\r\n\r\n");
    connection.write_all(answer.as_bytes()).ok()?;
    if method != "HEAD" {
        connection.write_all(&body).ok()?;
    }
    connection.flush().ok()
}
