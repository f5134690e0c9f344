//! The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02), with file names as the bytes that they are.

/// Kinds of packets.
pub mod kind {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const LSTAT: u8 = 7;
    pub const FSTAT: u8 = 8;
    pub const SETSTAT: u8 = 9;
    pub const FSETSTAT: u8 = 10;
    pub const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub const REMOVE: u8 = 13;
    pub const MKDIR: u8 = 14;
    pub const RMDIR: u8 = 15;
    pub const REALPATH: u8 = 16;
    pub const STAT: u8 = 17;
    pub const RENAME: u8 = 18;
    pub const READLINK: u8 = 19;
    pub const SYMLINK: u8 = 20;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
    pub const EXTENDED_REPLY: u8 = 201;
}

/// Flags of an open.
pub mod open {
    pub const READ: u32 = 0x01;
    pub const WRITE: u32 = 0x02;
    pub const APPEND: u32 = 0x04;
    pub const CREATE: u32 = 0x08;
    pub const TRUNCATE: u32 = 0x10;
    pub const EXCLUSIVE: u32 = 0x20;
}

/// Which attributes are there.
mod there {
    pub const SIZE: u32 = 0x01;
    pub const OWNER: u32 = 0x02;
    pub const PERMISSIONS: u32 = 0x04;
    pub const TIMES: u32 = 0x08;
    pub const EXTENDED: u32 = 0x8000_0000;
}

/// The packet is not what its kind says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What is known of a file, or is to become of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: Option<u64>,
    /// User and group.
    pub owner: Option<(u32, u32)>,
    /// As `st_mode`.
    pub permissions: Option<u32>,
    /// Of the last access and of the last change, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

/// Reads a packet from its front.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_be_bytes(bytes))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Bytes with their count before them.
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.u32()?;
        self.take(usize::try_from(count).map_err(|_| Malformed)?)
    }

    pub fn attributes(&mut self) -> Result<Attributes, Malformed> {
        let flags = self.u32()?;
        let mut attributes = Attributes::default();
        if flags & there::SIZE != 0 {
            attributes.size = Some(self.u64()?);
        }
        if flags & there::OWNER != 0 {
            attributes.owner = Some((self.u32()?, self.u32()?));
        }
        if flags & there::PERMISSIONS != 0 {
            attributes.permissions = Some(self.u32()?);
        }
        if flags & there::TIMES != 0 {
            attributes.times = Some((self.u32()?, self.u32()?));
        }
        if flags & there::EXTENDED != 0 {
            // Each takes eight bytes at least, so a false count ends with the packet.
            for _ in 0..self.u32()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(attributes)
    }
}

/// Makes a packet, its length first.
pub struct Writer(Vec<u8>);

impl Writer {
    /// A packet of a kind.
    pub fn new(kind: u8) -> Self {
        Writer(vec![0, 0, 0, 0, kind])
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn string(mut self, bytes: &[u8]) -> Self {
        // Nothing that is sent comes near 4 GiB.
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend(count.to_be_bytes());
        self.0.extend(bytes);
        self
    }

    pub fn attributes(self, attributes: &Attributes) -> Self {
        let mut flags = 0;
        for (flag, is_there) in [
            (there::SIZE, attributes.size.is_some()),
            (there::OWNER, attributes.owner.is_some()),
            (there::PERMISSIONS, attributes.permissions.is_some()),
            (there::TIMES, attributes.times.is_some()),
        ] {
            if is_there {
                flags |= flag;
            }
        }
        let mut writer = self.u32(flags);
        if let Some(size) = attributes.size {
            writer = writer.u64(size);
        }
        if let Some((user, group)) = attributes.owner {
            writer = writer.u32(user).u32(group);
        }
        if let Some(permissions) = attributes.permissions {
            writer = writer.u32(permissions);
        }
        if let Some((access, change)) = attributes.times {
            writer = writer.u32(access).u32(change);
        }
        writer
    }

    /// A part of a packet, without a kind and a length.
    pub fn bare() -> Self {
        Writer(Vec::new())
    }

    /// What [`Writer::bare`] began.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub fn append(mut self, other: &[u8]) -> Self {
        self.0.extend(other);
        self
    }

    /// The whole packet.
    pub fn finish(mut self) -> Vec<u8> {
        let count = u32::try_from(self.0.len().saturating_sub(4)).unwrap_or(u32::MAX);
        if let Some(front) = self.0.first_chunk_mut::<4>() {
            *front = count.to_be_bytes();
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_went() {
        let whole = Attributes {
            size: Some(1 << 40),
            owner: Some((0, 1000)),
            permissions: Some(0o100_644),
            times: Some((1, u32::MAX)),
        };
        for attributes in [whole, Attributes::default()] {
            let packet = Writer::new(kind::ATTRS).attributes(&attributes).finish();
            let mut reader = Reader(&packet);
            assert_eq!(reader.u32().unwrap() as usize, packet.len() - 4);
            assert_eq!(reader.byte(), Ok(kind::ATTRS));
            assert_eq!(reader.attributes(), Ok(attributes));
            assert_eq!(reader.byte(), Err(Malformed));
        }
    }

    #[test]
    fn a_count_that_is_a_lie_is_noticed() {
        assert_eq!(Reader(&[255, 255, 255, 255, 1]).string(), Err(Malformed));
        let mut many = vec![0x80, 0, 0, 0];
        many.extend([255; 4]);
        assert_eq!(Reader(&many).attributes(), Err(Malformed));
    }
}
