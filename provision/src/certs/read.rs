//! What a certificate says.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, PublicKeyData};
use x509_cert::der::{DecodePem, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{Error, Result};

/// More than this many bytes are no certificates of ours.
const MAX_SIZE: usize = 1 << 20;

/// One certificate's content. Nothing about it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is: `CN=…`.
    pub subject: String,
    /// Who signed it: `CN=…`.
    pub issuer: String,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// The DNS names and IP addresses that it stands for.
    pub names: Vec<String>,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
    /// The public key (DER).
    pub public_key: Vec<u8>,
    /// The certificate itself, as its file has it.
    pub pem: String,
}

impl Certificate {
    /// True once less than a third of its life is left.
    pub fn is_due(&self, now: SystemTime) -> bool {
        let left = self.not_after.duration_since(now).unwrap_or_default();
        left < self.life() / 3
    }

    /// True if it is valid at `now`.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// The subject's CN.
    pub fn common_name(&self) -> &str {
        self.subject.strip_prefix("CN=").unwrap_or(&self.subject)
    }

    fn life(&self) -> Duration {
        let life = self.not_after.duration_since(self.not_before);
        life.unwrap_or_default()
    }
}

/// The certificates in a PEM file, in their order; other blocks, such as keys, are passed over.
///
/// # Errors
/// If one is damaged, or the file is no text.
pub fn read(pem: &[u8]) -> Result<Vec<Certificate>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    if pem.len() > MAX_SIZE {
        return Err(Error::Read("it is too long".into()));
    }
    let mut rest = std::str::from_utf8(pem).map_err(|error| Error::Read(error.to_string()))?;
    let mut found = Vec::new();
    while let Some(at) = rest.find(BEGIN) {
        rest = &rest[at..];
        let end = rest
            .find(END)
            .ok_or_else(|| Error::Read("it is cut short".into()))?;
        let (block, after) = rest.split_at(end + END.len());
        found.push(parse(block).map_err(|error| Error::Read(error.to_string()))?);
        rest = after;
    }
    Ok(found)
}

/// True if `key` (PEM) is the certificate's private key.
pub fn is_pair(certificate: &Certificate, key: &str) -> bool {
    KeyPair::from_pem(key).is_ok_and(|key| key.subject_public_key_info() == certificate.public_key)
}

fn parse(block: &str) -> x509_cert::der::Result<Certificate> {
    let certificate = x509_cert::Certificate::from_pem(block)?;
    let content = certificate.tbs_certificate();
    let mut names = Vec::new();
    if let Some((_, SubjectAltName(all))) = content.get_extension::<SubjectAltName>()? {
        names.extend(all.iter().filter_map(name));
    }
    let serial = content.serial_number().as_bytes().iter();
    Ok(Certificate {
        subject: content.subject().to_string(),
        issuer: content.issuer().to_string(),
        serial: serial.map(|byte| format!("{byte:02x}")).collect(),
        names,
        not_before: content.validity().not_before.to_system_time(),
        not_after: content.validity().not_after.to_system_time(),
        public_key: content.subject_public_key_info().to_der()?,
        pem: format!("{block}\n"),
    })
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let any = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            any.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::{Authority, CA_LIFE, LEAF_LIFE, Pair, SKEW};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn only(pair: &Pair) -> Certificate {
        let mut found = read(pair.certificate.as_bytes()).unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn a_machines_certificates_say_what_they_are_and_end_in_time() {
        let now = SystemTime::now();
        let ca = Authority::load(&Authority::make(now).unwrap()).unwrap();
        let all = names(&["web1", "localhost", "127.0.0.1", "::1"]);
        let server = only(&ca.server(&all, None, now).unwrap());
        assert_eq!(server.names, all);
        assert_eq!(server.issuer, ca.certificate().subject);
        let life = server.not_after.duration_since(server.not_before).unwrap();
        assert!(life <= DAY * 398 && life == LEAF_LIFE, "{life:?}");
        // A clock that is a little behind does not refuse it, whole seconds apart.
        let early = now.duration_since(server.not_before).unwrap();
        assert!(early >= SKEW && early < SKEW + DAY, "{early:?}");
        let ca = ca.certificate();
        let life = ca.not_after.duration_since(ca.not_before).unwrap();
        assert_eq!(life, CA_LIFE);
        assert!(ca.is_valid(now) && !ca.is_valid(ca.not_after + DAY));
    }

    #[test]
    fn a_leaf_is_due_in_the_last_third_of_its_life() {
        let now = SystemTime::now();
        let ca = Authority::load(&Authority::make(now).unwrap()).unwrap();
        let leaf = only(&ca.client(&names(&["x"]), None, now).unwrap());
        assert!(!leaf.is_due(now) && !leaf.is_due(now + DAY * 260));
        assert!(leaf.is_due(now + DAY * 270) && leaf.is_due(now + DAY * 500));
    }

    #[test]
    fn a_renewed_certificate_may_keep_its_key_and_never_its_number() {
        let now = SystemTime::now();
        let ca = Authority::load(&Authority::make(now).unwrap()).unwrap();
        let first = ca.client(&names(&["x"]), None, now).unwrap();
        let kept = ca.client(&names(&["x"]), Some(&first.key), now).unwrap();
        let fresh = ca.client(&names(&["x"]), None, now).unwrap();
        assert_eq!(kept.key, first.key);
        assert_ne!(only(&kept).serial, only(&first).serial);
        assert!(is_pair(&only(&kept), &first.key));
        assert!(!is_pair(&only(&fresh), &first.key));
    }

    #[test]
    fn another_cas_key_signs_nothing_here() {
        let now = SystemTime::now();
        let (mut mine, other) = (Authority::make(now).unwrap(), Authority::make(now).unwrap());
        assert_ne!(only(&mine).subject, only(&other).subject);
        mine.key = other.key;
        assert!(matches!(Authority::load(&mine), Err(Error::WrongKey)));
    }

    #[test]
    fn damaged_files_are_told_and_keys_are_passed_over() {
        let now = SystemTime::now();
        let pair = Authority::make(now).unwrap();
        let both = format!("{}{}{}", pair.key, pair.certificate, pair.certificate);
        assert_eq!(read(both.as_bytes()).unwrap().len(), 2);
        assert_eq!(read(b"").unwrap(), []);
        assert!(read(&both.as_bytes()[..both.len() - 30]).is_err());
        let wrong = pair.certificate.replacen("MII", "AAA", 1);
        assert!(read(wrong.as_bytes()).is_err());
        assert!(read(b"\xff").is_err());
    }
}
