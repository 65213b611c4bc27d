//! Servers that files are read from: stores with the interfaces of S3 and of Azure, and a web server that does what a test
//! wants.

use super::certificates::Authority;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::ssl::{SslAcceptor, SslMethod};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use xtask::server::ScratchDirectory;
use xtask::{packages, python};

const MOTO: &str = "moto[server]==5.2.5";

/// A server program. Dropping it stops it.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    /// `arguments` is given the port that the program must listen on.
    fn start(program: &Path, arguments: impl FnOnce(&mut Command, &str)) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // It ends with us, however we end.
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=TERM").arg(program);
        arguments(&mut command, &port.to_string());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let process = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{} does not answer", program.display());
            std::thread::sleep(Duration::from_millis(100));
        }
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request and returns the whole answer, which must be a success.
fn send(port: u16, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(body).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
    answer
}

/// An S3-compatible server (moto) with one user. Dropping it stops it.
///
/// What is asked of Google's store to read from it has the form of S3's requests, but for the authorization: this stands
/// in for it.
pub struct S3 {
    _process: Process,
    port: u16,
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl S3 {
    pub fn start(bucket: &str) -> Self {
        let programs = python::environment(&[MOTO]).expect("moto is installed");
        let process = Process::start(&programs.join("moto_server"), |command, port| {
            // Until requests must be signed.
            command.args(["-H", "127.0.0.1", "-p", port]).env("INITIAL_NO_AUTH_ACTION_COUNT", "1000000");
        });
        let port = process.port;
        let mut s3 = Self { _process: process, port, access_key_id: String::new(), secret_access_key: String::new() };
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
        let content_type = if service == "iam" { "application/x-www-form-urlencoded" } else { "text/plain" };
        let headers = format!(
            "Content-Type: {content_type}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=any/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=any\r\n"
        );
        send(self.port, method, path, &headers, body)
    }
}

/// A server with the interface of Azure's blob store (Azurite). Dropping it stops it.
pub struct Azure {
    process: Process,
    _directory: ScratchDirectory,
}

impl Azure {
    pub const ACCOUNT: &str = "devstoreaccount1";
    /// That of the account which every such server has.
    pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    pub fn start(name: &str, container: &str) -> Self {
        let directory = ScratchDirectory::create(name).unwrap();
        let process = Process::start(&packages::azurite().expect("Azurite is installed"), |command, port| {
            command
                .args(["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableProductStyleUrl"])
                .args(["--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort", port])
                .current_dir(directory.path());
        });
        let azure = Self { process, _directory: directory };
        azure.send("PUT", container, "?restype=container", &[], b"");
        azure
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.process.port, Self::ACCOUNT)
    }

    /// Stores a blob; the key is percent-encoded.
    pub fn put(&self, container: &str, key: &str, content: &[u8]) {
        self.send("PUT", &format!("{container}/{key}"), "", &[("x-ms-blob-type", "BlockBlob")], content);
    }

    /// What allows to read and list the container, without the key.
    pub fn sas_token(&self, container: &str) -> String {
        let (account, version, until) = (Self::ACCOUNT, "2020-12-06", "2099-01-01T00:00:00Z");
        let signed = format!("rl\n\n{until}\n/blob/{account}/{container}\n\n\n\n{version}\nc\n\n\n\n\n\n\n");
        let signature = signature(&signed).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("sv={version}&se={}&sr=c&sp=rl&sig={signature}", until.replace(':', "%3A"))
    }

    fn send(&self, method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) {
        let date = "Sat, 01 Nov 2025 00:00:00 GMT";
        let mut sent: Vec<(&str, &str)> = [("x-ms-date", date), ("x-ms-version", "2020-12-06")].to_vec();
        sent.extend(headers);
        sent.sort_unstable();
        let canonical: String = sent.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        let account = Self::ACCOUNT;
        let parameters = query.replace('?', "\n").replace('=', ":");
        let signed =
            format!("{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n{canonical}/{account}/{account}/{path}{parameters}");
        let mut lines: String = sent.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let _ = write!(lines, "Authorization: SharedKey {account}:{}\r\n", signature(&signed));
        send(self.process.port, method, &format!("/{account}/{path}{query}"), &lines, body);
    }
}

/// Of the account's key.
fn signature(text: &str) -> String {
    let key = PKey::hmac(&openssl::base64::decode_block(Azure::KEY).unwrap()).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    openssl::base64::encode_block(&signer.sign_oneshot_to_vec(text.as_bytes()).unwrap())
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
    scheme: &'static str,
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
        Self::start_as("http", pages, serve::<TcpStream>)
    }

    /// With a certificate of the authority.
    pub fn start_encrypted<const N: usize>(authority: &Authority, pages: [(&str, Page); N]) -> Self {
        let (key, certificate) = authority.issue("files.example", Some("127.0.0.1"), 3);
        let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&certificate).unwrap();
        let acceptor = acceptor.build();
        Self::start_as("https", pages, move |connection, shared| serve(acceptor.accept(connection).ok()?, shared))
    }

    fn start_as<const N: usize>(
        scheme: &'static str,
        pages: [(&str, Page); N],
        serve: impl Fn(TcpStream, &Shared) -> Option<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let server = Self { scheme, port, shared: Arc::clone(&shared) };
        for (path, page) in pages {
            server.put(path, page);
        }
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (shared, serve) = (Arc::clone(&shared), Arc::clone(&serve));
                std::thread::spawn(move || serve(connection, &shared));
            }
        });
        server
    }

    pub fn put(&self, path: &str, page: Page) {
        self.shared.pages.lock().unwrap().insert(path.into(), page);
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// The heads of the requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }
}

fn serve<C: Read + Write>(connection: C, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(connection);
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
    // Stores always send one; of other pages the time of the last change must do.
    let tag = if matches!(page, Page::Guarded(..)) { "ETag: \"guarded\"\r\n" } else { "" };
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
    let _ = write!(answer, "{tag}Accept-Ranges: bytes\r\nLast-Modified: Sat, 01 Nov 2025 00:00:00 GMT\r\n\r\n");
    let connection = reader.get_mut();
    connection.write_all(answer.as_bytes()).ok()?;
    if method != "HEAD" {
        connection.write_all(&body).ok()?;
    }
    connection.flush().ok()
}
