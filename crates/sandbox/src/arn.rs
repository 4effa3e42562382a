//! Amazon Resource Names, taken apart. No judgement of what they name.

/// `arn:partition:service:region:account:resource`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub(crate) partition: &'a str,
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    pub(crate) resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Reads one; `None` when a part is missing.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let is_arn = parts.next() == Some("arn");
        let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (account, resource) = (parts.next()?, parts.next()?);
        (is_arn && !partition.is_empty() && !service.is_empty() && !resource.is_empty()).then_some(Self {
            partition,
            service,
            region,
            account,
            resource,
        })
    }

    /// The name after `role/` and its path, for an IAM role of a twelve-digit account.
    pub(crate) fn role_name(&self) -> Option<&'a str> {
        let name = self.resource.strip_prefix("role/")?.rsplit('/').next()?;
        (self.service == "iam" && is_account(self.account) && !name.is_empty()).then_some(name)
    }
}

/// Twelve digits.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roles_name_is_what_follows_its_path() {
        let role = Arn::read("arn:aws-us-gov:iam::123456789012:role/team/a/agent").unwrap();
        assert_eq!((role.partition, role.account, role.role_name()), ("aws-us-gov", "123456789012", Some("agent")));
        for text in ["", "arn:aws:iam::1:role/a", "arn:aws:iam::123456789012:user/a", "arn:aws:iam", "a:b:c:d:e:f"] {
            assert_eq!(Arn::read(text).and_then(|arn| arn.role_name()), None, "{text}");
        }
    }
}
