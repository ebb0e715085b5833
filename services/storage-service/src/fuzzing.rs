//! Entry points for fuzzers and for the tests below: bytes of others, and what must hold for each.

use std::io::{Cursor, Error, ErrorKind};

use crate::{
    qcow2::{Piece, Qcow2Error, disk_size, read_disk},
    range::{RequestedRange, requested_range},
};

/// Maximum size of a disk that is read to its end here, in bytes.
const MAX_DISK_BYTES: u64 = 64 << 20;

/// Any file is read as a QCOW2 image of the size that it declares, or refused; its content is not larger than the file
/// and what its compressed clusters unpack to.
///
/// # Panics
/// If that does not hold.
pub fn qcow2(file: &[u8]) {
    let declared = disk_size(&mut Cursor::new(file));
    let mut read = 0_u64;
    let outcome = read_disk(&mut Cursor::new(file), |piece| {
        read += match piece {
            Piece::Data(data) => data.len() as u64,
            Piece::Zeros(count) => count,
        };
        // A fuzzer tries sizes of exabytes, which an operator's limit refuses.
        if read > MAX_DISK_BYTES { Err(Error::from(ErrorKind::FileTooLarge).into()) } else { Ok::<(), Qcow2Error>(()) }
    });
    if let Ok(size) = outcome {
        assert!(declared.is_ok_and(|declared| declared == size), "the header declares another size");
        assert_eq!(read, size, "the disk has another size than it declares");
    }
}

/// Any `Range` header of a file of any size names a part of the file or none.
///
/// # Panics
/// If that does not hold.
pub fn range(header: &str, size: u64) {
    if let RequestedRange::Range(first, last) = requested_range(Some(header), size) {
        assert!(first <= last && last < size, "{header:?} of {size}: {first} to {last}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::qcow2::tests::{Cluster, build};

    proptest! {
        #[test]
        fn a_changed_qcow2_image_is_read_or_refused(
            version in 2_u32..=3,
            edits in prop::collection::vec((any::<Index>(), any::<u8>()), 0..12),
            cut in any::<Index>(),
            is_cut in any::<bool>(),
        ) {
            let clusters = [Cluster::Plain(1), Cluster::Zero, Cluster::Deflate(2), Cluster::Unallocated];
            let mut file = build(version, 9, 2048, &clusters);
            for (at, octet) in edits {
                // Most of what matters is in the header and the tables.
                let at = at.index(file.len().min(2048));
                file[at] = octet;
            }
            if is_cut {
                file.truncate(cut.index(file.len()));
            }
            qcow2(&file);
        }

        #[test]
        fn a_range_is_within_the_file(header in "(bytes=)?[0-9]{0,21}-?[0-9 ,]{0,21}", size in any::<u64>()) {
            range(&header, size);
            range(&header, size % 30);
        }
    }
}
