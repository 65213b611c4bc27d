use crate::error::{Error, Result};
use conninfo::{ConnInfo, SslMode, TlsVersion};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use openssl::x509::store::{X509Lookup, X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use pgrx::prelude::*;
use postgres_openssl::MakeTlsConnector;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Makes a connector that verifies the server as far as the mode asks, as libpq does.
pub(super) fn connector(info: &ConnInfo) -> Result<MakeTlsConnector> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(tls_error)?;
    let verify_name = info.ssl_mode == SslMode::VerifyFull;
    // As in libpq, a root certificate that was given is used in every mode.
    let verify = verify_name || info.ssl_mode == SslMode::VerifyCa || info.ssl_root_cert.is_some();
    if verify {
        let Some(root) = info.ssl_root_cert.as_deref() else {
            let mode = if verify_name { "verify-full" } else { "verify-ca" };
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                format!("sslmode={mode} needs a root certificate"),
            )
            .hint("Give sslrootcert=…, the name of a file on this server, or sslrootcert=system."));
        };
        builder.set_cert_store(trusted(root, info)?);
    }
    builder.set_verify(if verify { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
    let least = info.ssl_min_protocol.unwrap_or(TlsVersion::V1_2);
    builder.set_min_proto_version(Some(version(least))).map_err(tls_error)?;
    builder.set_max_proto_version(info.ssl_max_protocol.map(version)).map_err(tls_error)?;
    if let Some(file) = &info.ssl_cert {
        use_client_certificate(&mut builder, file, info)?;
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    let name_server = info.ssl_sni;
    connector.set_callback(move |configuration, _| {
        configuration.set_verify_hostname(verify_name);
        configuration.set_use_server_name_indication(name_server);
        Ok(())
    });
    Ok(connector)
}

/// Returns the root certificates that are trusted, and the revoked ones. Nothing else is trusted.
fn trusted(root: &str, info: &ConnInfo) -> Result<X509Store> {
    let mut store = X509StoreBuilder::new().map_err(tls_error)?;
    if root == "system" {
        store.set_default_paths().map_err(tls_error)?;
    } else {
        let certificates = certificates(&read("sslrootcert", root)?)
            .and_then(|certificates| certificates.into_iter().try_for_each(|certificate| store.add_cert(certificate)));
        certificates.map_err(|error| unusable("sslrootcert", root, &error))?;
    }
    if let Some(file) = &info.ssl_crl {
        read("sslcrl", file)?;
        let lookup = store.add_lookup(X509Lookup::file()).map_err(tls_error)?;
        lookup.load_crl_file(file, SslFiletype::PEM).map_err(|error| unusable("sslcrl", file, &error))?;
    }
    if let Some(directory) = &info.ssl_crl_dir {
        let lookup = store.add_lookup(X509Lookup::hash_dir()).map_err(tls_error)?;
        lookup.add_dir(directory, SslFiletype::PEM).map_err(|error| unusable("sslcrldir", directory, &error))?;
    }
    if info.ssl_crl.is_some() || info.ssl_crl_dir.is_some() {
        store.set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL).map_err(tls_error)?;
    }
    Ok(store.build())
}

fn use_client_certificate(builder: &mut SslConnectorBuilder, file: &str, info: &ConnInfo) -> Result<()> {
    let chain = certificates(&read("sslcert", file)?).map_err(|error| unusable("sslcert", file, &error))?;
    let mut chain = chain.into_iter();
    if let Some(own) = chain.next() {
        builder.set_certificate(&own).map_err(|error| unusable("sslcert", file, &error))?;
    }
    for issuer in chain {
        builder.add_extra_chain_cert(issuer).map_err(tls_error)?;
    }
    let key_file = info.ssl_key.as_deref().unwrap_or(file);
    refuse_open_key(key_file)?;
    let pem = read("sslkey", key_file)?;
    // Without a password the library would prompt for one on a terminal.
    let password = info.ssl_password.as_deref().unwrap_or("").as_bytes();
    let key = PKey::private_key_from_pem_callback(&pem, |room| {
        let length = password.len().min(room.len());
        room[..length].copy_from_slice(&password[..length]);
        Ok(length)
    });
    let key = key.map_err(|error| {
        let error = unusable("sslkey", key_file, &error);
        if info.ssl_password.is_some() { error } else { error.hint("An encrypted key needs sslpassword.") }
    })?;
    builder.set_private_key(&key).map_err(|error| unusable("sslkey", key_file, &error))?;
    builder.check_private_key().map_err(|error| unusable("sslkey", key_file, &error))
}

/// Refuses a key file that others can read, as libpq does.
fn refuse_open_key(file: &str) -> Result<()> {
    let metadata = fs::metadata(file).map_err(|error| unreadable("sslkey", file, &error))?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.is_file() && metadata.mode() & forbidden == 0 {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
        format!("private key file \"{file}\" is not a file, or is open to others"),
    )
    .detail("It must have permissions u=rw (0600) or less, or u=rw,g=r (0640) or less if root owns it."))
}

fn version(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::V1_0 => SslVersion::TLS1,
        TlsVersion::V1_1 => SslVersion::TLS1_1,
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }
}

/// Reads the certificates of a file, at least one.
fn certificates(pem: &[u8]) -> std::result::Result<Vec<X509>, ErrorStack> {
    let all = X509::stack_from_pem(pem)?;
    // The library returns an empty list for a text without certificates; reading a single certificate gives the reason.
    if all.is_empty() { X509::from_pem(pem).map(|one| vec![one]) } else { Ok(all) }
}

fn read(parameter: &str, file: &str) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| unreadable(parameter, file, &error))
}

pub(super) fn tls_error(error: ErrorStack) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, format!("could not set up TLS: {error}"))
}

fn unreadable(parameter: &str, file: &str, error: &std::io::Error) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
        format!("could not read the file of \"{parameter}\", \"{file}\": {error}"),
    )
}

fn unusable(parameter: &str, file: &str, error: &ErrorStack) -> Error {
    let error = error.to_string();
    let reason = if error.is_empty() { "It holds nothing of the kind.".to_owned() } else { error };
    Error::new(
        PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
        format!("could not use the file of \"{parameter}\", \"{file}\""),
    )
    .detail(reason)
}
