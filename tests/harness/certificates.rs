//! Certificates for tests.

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// Somebody who signs certificates.
pub struct Authority {
    pub key: PKey<Private>,
    pub certificate: X509,
}

fn builder(common_name: &str, key: &PKey<Private>, serial: u32) -> X509Builder {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", common_name).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name.build()).unwrap();
    builder.set_pubkey(key).unwrap();
    let serial = openssl::bn::BigNum::from_u32(serial).unwrap();
    builder.set_serial_number(&openssl::asn1::Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder
}

pub fn new_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = new_key();
        let mut builder = builder(name, &key, 1);
        let mut issuer = X509NameBuilder::new().unwrap();
        issuer.append_entry_by_text("CN", name).unwrap();
        builder.set_issuer_name(&issuer.build()).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    /// A key and a certificate for a host of that name and addresses, or for a user.
    pub fn issue(&self, common_name: &str, address: Option<&str>, serial: u32) -> (PKey<Private>, X509) {
        let key = new_key();
        let mut builder = builder(common_name, &key, serial);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        if let Some(address) = address {
            let context = builder.x509v3_context(Some(&self.certificate), None);
            let names = SubjectAlternativeName::new().dns(common_name).ip(address).build(&context).unwrap();
            builder.append_extension(names).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        (key, builder.build())
    }
}
