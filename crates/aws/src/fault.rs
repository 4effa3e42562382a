//! What keeps an identity from its credentials, as a kind: for those who advise. The words are in the message beside it.
//!
//! Decides nothing. Keeps true: a kind comes from what a service or the system said, never from a text of ours; nothing here is
//! secret.

use std::{path::PathBuf, time::SystemTime};

/// The kind of what went wrong, with what advice has to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A service answered and refused.
    Refused(Refused),
    /// A service answered that it cannot just now: it is in trouble, or it throttles. It is asked again by itself.
    InTrouble(Refused),
    /// A service gave no answer.
    Unreached(Asked),
    /// A service answered with something that it never answers.
    OddAnswer(Asked),
    /// The whole standard chain has nothing.
    Nowhere,
    /// One of the environment's two keys is set, and this one is not.
    EnvironmentHalf { missing: &'static str },
    /// A file cannot be read.
    FileUnreadable(PathBuf),
    /// A file, or what stands for one, holds no PEM text of the kind that is wanted.
    NotPem { place: String },
    /// The token file of web identity cannot be read, or is empty.
    WebIdentityToken(PathBuf),
    /// The token file of the container endpoint cannot be read, or holds no token.
    ContainerToken(PathBuf),
    /// The container endpoint is named wrongly.
    ContainerAddress,
    /// Nothing names a container endpoint: neither the configuration nor the variables that ECS and EKS set.
    ContainerUnnamed,
    /// A variable names the metadata service, and is no address.
    MetadataAddress { variable: &'static str },
    /// Neither file has this profile; another named it as its source, or the configuration did.
    ProfileUnknown { name: String },
    /// Profiles that lead back to themselves.
    ProfileCircle,
    /// The shared file has a line that is none.
    SharedFileMalformed(PathBuf),
    /// A profile says too little, or two things at once.
    ProfileIncomplete { name: String },
    /// A value in a profile is none of those it may have.
    ProfileValue { name: String, key: &'static str },
    /// A profile for a login by single sign-on.
    ProfileSso { name: String },
    /// A profile for a login at the console.
    ProfileConsoleLogin { name: String },
    /// A role of a profile that demands the code of an MFA device.
    ProfileMfa { name: String, refused: Refused },
    /// The command of `credential_process`.
    Helper,
    /// The command of `credential_process` prints credentials that are over.
    HelperStale { ended: SystemTime },
    /// The private key is not that of the certificate.
    KeyOfAnotherCertificate,
    /// A private key that is protected by a passphrase.
    KeyEncrypted { place: String },
    /// A certificate is over, or not valid yet.
    CertificateOver {
        /// Such as `CN=host1.example.com`.
        whom: String,
        /// Its file's path, or what stands for one.
        file: String,
        /// It is the one that the key belongs to, and not one between that and the trust anchor.
        is_leaf: bool,
    },
    /// The kind of key is none that can sign here.
    KeyKind,
    /// Our own program broke off.
    Broke,
}

/// What a service said when it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub by: Asked,
    /// The service's own code, such as `AccessDenied`; without `Exception` at its end.
    pub code: String,
    /// The service's own words.
    pub message: String,
    /// The access key id that the question was signed with, where there was one.
    pub key_id: Option<String>,
    /// The role that was asked for.
    pub role_arn: Option<String>,
}

impl Refused {
    pub(crate) fn new(by: Asked, code: &str, message: &str) -> Self {
        let code = code.strip_suffix("Exception").unwrap_or(code).to_owned();
        Self { by, code, message: message.to_owned(), key_id: None, role_arn: None }
    }
}

/// Who is asked for credentials over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// AssumeRole.
    Sts,
    /// AssumeRoleWithWebIdentity.
    StsWebIdentity,
    RolesAnywhere,
    Container,
    InstanceMetadata,
}
