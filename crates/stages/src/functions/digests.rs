//! Hashes and encodings.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256, Sha512};
use sha3::Sha3_256;

use super::{Table, text};

pub(super) fn fill(table: &mut Table) {
    // Salt and input are simply put one after the other.
    table.add("Hash", 2, |a| {
        text(hex::encode(Sha3_256::new().chain_update(a.text(0)?).chain_update(a.text(1)?).finalize()))
    });
    table.add("Sha2Hash", 2, |a| {
        text(hex::encode(Sha256::new().chain_update(a.text(0)?).chain_update(a.text(1)?).finalize()))
    });
    table.add("sha256sum", 1, |a| text(hex::encode(Sha256::digest(a.text(0)?))));
    table.add("sha512sum", 1, |a| text(hex::encode(Sha512::digest(a.text(0)?))));
    table.add("adler32sum", 1, |a| {
        let (mut low, mut high) = (1_u32, 0_u32);
        for byte in a.text(0)?.bytes() {
            low = (low + u32::from(byte)) % 65_521;
            high = (high + low) % 65_521;
        }
        text(((high << 16) | low).to_string())
    });
    table.add("b64enc", 1, |a| text(STANDARD.encode(a.text(0)?)));
    table.add("b64dec", 1, |a| match STANDARD.decode(a.text(0)?) {
        Ok(bytes) => text(String::from_utf8_lossy(&bytes)),
        // sprig answers with the error's text.
        Err(error) => text(error.to_string()),
    });
}
