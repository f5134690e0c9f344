//! Making a CA, and signing with it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use uuid::Uuid;

use super::{CA_LIFE, Certificate, Error, LEAF_LIFE, Result, SKEW, is_pair, read};

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// `BEGIN CERTIFICATE`.
    pub certificate: String,
    /// `BEGIN PRIVATE KEY` (PKCS #8).
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

/// A CA that can sign.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.certificate.subject)
    }
}

impl Authority {
    /// Makes a new CA. No two have the same subject, so that one is told from the next where both are trusted.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn make(now: SystemTime) -> Result<Pair> {
        let id = Uuid::new_v4().simple().to_string();
        let subject = subject(&format!("berth CA {}", &id[..12]));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(Vec::new(), subject, now, CA_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Pair {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Takes up a CA that was made before.
    ///
    /// # Errors
    /// [`Error::WrongKey`], or if one of the two is damaged.
    pub fn load(ca: &Pair) -> Result<Self> {
        let mut found = read(ca.certificate.as_bytes())?;
        if found.is_empty() {
            return Err(Error::Read("the CA's is missing".into()));
        }
        let certificate = found.swap_remove(0);
        let key = KeyPair::from_pem(&ca.key)?;
        if !is_pair(&certificate, &ca.key) {
            return Err(Error::WrongKey);
        }
        // Only what goes into what it signs: its name and its key.
        let mut own = CertificateParams::default();
        own.distinguished_name = subject(certificate.common_name());
        Ok(Authority {
            issuer: Issuer::new(own, key),
            certificate,
        })
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A server's certificate for `names`: DNS names and IP addresses. `key` is kept if one is given.
    ///
    /// # Errors
    /// If a name is neither, or the key is damaged.
    pub fn server(&self, names: &[String], key: Option<&str>, now: SystemTime) -> Result<Pair> {
        let title = names.first().map_or("server", String::as_str);
        self.sign(title, names, ExtendedKeyUsagePurpose::ServerAuth, key, now)
    }

    /// A client's certificate; `names` say what it opens.
    ///
    /// # Errors
    /// As [`Authority::server`].
    pub fn client(&self, names: &[String], key: Option<&str>, now: SystemTime) -> Result<Pair> {
        let title = names.first().map_or("client", String::as_str);
        self.sign(title, names, ExtendedKeyUsagePurpose::ClientAuth, key, now)
    }

    fn sign(
        &self,
        title: &str,
        names: &[String],
        usage: ExtendedKeyUsagePurpose,
        key: Option<&str>,
        now: SystemTime,
    ) -> Result<Pair> {
        let key = match key {
            Some(key) => KeyPair::from_pem(key)?,
            None => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        };
        // A subject's CN holds 64 characters (RFC 5280, appendix A); clients go by the names anyway.
        let title: String = title.chars().take(64).collect();
        let mut params = params(names.to_vec(), subject(&title), now, LEAF_LIFE)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Ok(Pair {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn params(
    names: Vec<String>,
    subject: DistinguishedName,
    now: SystemTime,
    life: Duration,
) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = subject;
    let begin = now
        .checked_sub(SKEW)
        .and_then(|begin| begin.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + begin;
    params.not_after = epoch + begin + life;
    // Rcgen's own choice is the key's digest: a renewed certificate would have its predecessor's number.
    let mut serial = *Uuid::new_v4().as_bytes();
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}
