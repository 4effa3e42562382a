//! The value column: two bits a value say how it differs from its base value, then varints.
//!
//! Layout: `ceil(n / 4)` bytes of kinds, value i in bits `2 * (i % 4)` of byte `i / 4`; then the payload of each value:
//!
//! | kind | payload | value |
//! |---|---|---|
//! | 0 same | | the base, bit for bit |
//! | 1 integer | zigzag varint d | `trunc(base) + d` |
//! | 2 decimal | zigzag varint d | `(nearest(base * 10^s) + d) / 10^s`, s the column's current scale |
//! | 3 other | code byte | 0-8: that many low bytes of `bits(value) xor bits(base)` follow; 9: a stale marker; 16 + s: sets the scale to s, then as decimal |
//!
//! Numbers in expositions are decimals of few digits, so nearly all values are of the first three kinds. A kind is
//! chosen only if decoding gives back every bit; whatever does not fit is stored as its bits.

use crate::{
    ModelError, STALE_NAN_BITS,
    wire::{Cursor, put_varint, zigzag},
};

const SAME: u8 = 0;
const INTEGER: u8 = 1;
const DECIMAL: u8 = 2;
const OTHER: u8 = 3;

const CODE_STALE: u8 = 9;
const CODE_SCALE: u8 = 16;

const TWO_50: f64 = 1_125_899_906_842_624.0;
const MAX_WHOLE: u64 = 1 << 53;
/// Adding and subtracting it rounds to the nearest integer (ties to even) for magnitudes below 2^51.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// Powers of ten that a double holds exactly.
const POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Appends the column of `values`; a value without a base counts from zero.
pub(crate) fn encode(values: &[f64], bases: &[f64], out: &mut Vec<u8>) {
    let start = out.len();
    let kinds = values.len().div_ceil(4);
    out.reserve(kinds + values.len() * 3);
    out.resize(start + kinds, 0);
    let mut scale = Scale::default();
    let (covered, bare) = values.split_at(values.len().min(bases.len()));
    let mut quads = Quads { at: start, kinds: 0, shift: 0 };
    for (value, base) in covered.iter().zip(bases) {
        let kind = put(*value, *base, &mut scale, out);
        quads.push(kind, out);
    }
    for value in bare {
        let kind = put(*value, 0.0, &mut scale, out);
        quads.push(kind, out);
    }
    quads.flush(out);
}

/// Where the next kinds go.
struct Quads {
    at: usize,
    kinds: u8,
    shift: u8,
}

impl Quads {
    #[inline]
    fn push(&mut self, kind: u8, out: &mut [u8]) {
        self.kinds |= kind << self.shift;
        self.shift += 2;
        if self.shift == 8 {
            self.flush(out);
        }
    }

    #[inline]
    fn flush(&mut self, out: &mut [u8]) {
        if let Some(place) = out.get_mut(self.at).filter(|_| self.shift > 0) {
            *place = self.kinds;
        }
        (self.at, self.kinds, self.shift) = (self.at + 1, 0, 0);
    }
}

/// Turns the bases in `values` into the values of the column.
pub(crate) fn decode(cursor: &mut Cursor<'_>, values: &mut [f64]) -> Result<(), ModelError> {
    let kinds = cursor.take(values.len().div_ceil(4))?;
    let mut scale = Scale::default();
    for (kinds, values) in kinds.iter().zip(values.chunks_mut(4)) {
        let mut kinds = *kinds;
        for value in values {
            if kinds == 0 {
                break;
            }
            match kinds & 3 {
                SAME => {}
                INTEGER => {
                    let difference = cursor.quick_signed().ok_or_else(|| cursor.broken_number())?;
                    *value = whole(*value).wrapping_add(difference) as f64;
                }
                DECIMAL => {
                    let difference = cursor.quick_signed().ok_or_else(|| cursor.broken_number())?;
                    *value = scale.base(*value).wrapping_add(difference) as f64 / scale.power;
                }
                _ => *value = get_other(*value, &mut scale, cursor)?,
            }
            kinds >>= 2;
        }
    }
    Ok(())
}

/// Payload bytes that `value` takes.
pub(crate) fn cost(value: f64, base: f64, scale: &mut Scale) -> usize {
    let mut count = Count(0);
    put(value, base, scale, &mut count);
    count.0
}

/// Where a payload goes: into bytes, or only into their number.
trait Sink {
    fn byte(&mut self, byte: u8);
    fn varint(&mut self, number: u64);
    fn low_bytes(&mut self, number: u64, len: u8);
}

impl Sink for Vec<u8> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }

    #[inline]
    fn varint(&mut self, number: u64) {
        put_varint(self, number);
    }

    #[inline]
    fn low_bytes(&mut self, number: u64, len: u8) {
        self.extend(number.to_le_bytes().iter().take(usize::from(len)));
    }
}

struct Count(usize);

impl Sink for Count {
    fn byte(&mut self, _: u8) {
        self.0 += 1;
    }

    fn varint(&mut self, number: u64) {
        self.0 += (70 - (number | 1).leading_zeros() as usize) / 7;
    }

    fn low_bytes(&mut self, _: u64, len: u8) {
        self.0 += usize::from(len);
    }
}

/// The power of ten that decimals are currently written with.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    digits: u8,
    power: f64,
}

impl Default for Scale {
    fn default() -> Self {
        Self { digits: 0, power: 1.0 }
    }
}

impl Scale {
    fn of(digits: u8) -> Option<Self> {
        POW10.get(usize::from(digits)).map(|power| Self { digits, power: *power })
    }

    /// The integer m with `m / 10^digits == value`, if there is one that survives the way back.
    #[inline]
    fn mantissa(self, value: f64) -> Option<i64> {
        let scaled = value * self.power;
        if scaled.abs() < TWO_50 {
            let whole = nearest(scaled);
            // The mantissa stays below 2^50, so the conversion is exact.
            if (whole as f64 / self.power).to_bits() == value.to_bits() {
                return Some(whole);
            }
        }
        None
    }

    /// What a base counts as under this scale; any double has one.
    #[inline]
    fn base(self, base: f64) -> i64 {
        let scaled = base * self.power;
        if scaled.abs() < TWO_50 { nearest(scaled) } else { 0 }
    }
}

#[inline]
fn nearest(number: f64) -> i64 {
    // Callers keep the magnitude below 2^50.
    #[allow(clippy::cast_possible_truncation)]
    let whole = ((number + ROUNDER) - ROUNDER) as i64;
    whole
}

/// Towards zero; saturating, and 0 for NaN, as Rust defines the cast.
#[inline]
fn whole(number: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation)]
    let whole = number as i64;
    whole
}

#[inline]
fn put(value: f64, base: f64, scale: &mut Scale, out: &mut impl Sink) -> u8 {
    let bits = value.to_bits();
    if bits == base.to_bits() {
        return SAME;
    }
    let integer = whole(value);
    if (integer as f64).to_bits() == bits && integer.unsigned_abs() <= MAX_WHOLE {
        out.varint(zigzag(integer.wrapping_sub(whole(base))));
        return INTEGER;
    }
    if let Some(mantissa) = scale.mantissa(value)
        && mantissa % 100 != 0
    {
        out.varint(zigzag(mantissa.wrapping_sub(scale.base(base))));
        return DECIMAL;
    }
    put_other(value, base, scale, out);
    OTHER
}

/// The rest: a decimal of another scale, a stale marker, bits.
fn put_other(value: f64, base: f64, scale: &mut Scale, out: &mut impl Sink) {
    let bits = value.to_bits();
    if bits == STALE_NAN_BITS {
        out.byte(CODE_STALE);
        return;
    }
    if let Some((found, mantissa)) = shortest_decimal(value) {
        *scale = found;
        out.byte(CODE_SCALE + found.digits);
        out.varint(zigzag(mantissa.wrapping_sub(found.base(base))));
        return;
    }
    let difference = bits ^ base.to_bits();
    let len = 8 - difference.leading_zeros() / 8;
    // At most 8.
    #[allow(clippy::cast_possible_truncation)]
    let len = len as u8;
    out.byte(len);
    out.low_bytes(difference, len);
}

/// A decimal that is one at some scale is one at every larger scale whose mantissa still fits, so one trial at the
/// largest rejects most doubles; trailing zeros then give the smallest.
fn shortest_decimal(value: f64) -> Option<(Scale, i64)> {
    let exponent = i64::from((value.to_bits() >> 52 & 0x7ff) as u16) - 1023;
    // value < 2^(exponent + 1), and the mantissa is to stay below 2^50.
    let room = (49 - exponent).max(0).saturating_mul(30_103) / 100_000;
    let mut digits = u8::try_from(room.min(22)).ok()?;
    let mut mantissa = Scale::of(digits)?.mantissa(value)?;
    while digits > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        digits -= 1;
    }
    let scale = Scale::of(digits)?;
    (scale.mantissa(value) == Some(mantissa)).then_some((scale, mantissa))
}

fn get_other(base: f64, scale: &mut Scale, cursor: &mut Cursor<'_>) -> Result<f64, ModelError> {
    let code = cursor.byte()?;
    if code <= 8 {
        let mut difference = [0u8; 8];
        for (to, from) in difference.iter_mut().zip(cursor.take(usize::from(code))?) {
            *to = *from;
        }
        return Ok(f64::from_bits(u64::from_le_bytes(difference) ^ base.to_bits()));
    }
    if code == CODE_STALE {
        return Ok(f64::from_bits(STALE_NAN_BITS));
    }
    *scale = code.checked_sub(CODE_SCALE).and_then(Scale::of).ok_or_else(|| cursor.corrupt("unknown value code"))?;
    Ok(scale.base(base).wrapping_add(cursor.signed()?) as f64 / scale.power)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[f64], bases: &[f64]) -> usize {
        let mut out = Vec::new();
        let base = |i: usize| bases.get(i).copied().unwrap_or(0.0);
        encode(values, bases, &mut out);
        let mut cursor = Cursor::new(&out, "test");
        let mut back: Vec<f64> = (0..values.len()).map(base).collect();
        decode(&mut cursor, &mut back).expect("decodes");
        assert!(cursor.is_empty());
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values));
        out.len()
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            any::<i64>().prop_map(|v| v as f64),
            (-1000i64..1000).prop_map(|v| v as f64),
            (any::<i32>(), 0i32..20).prop_map(|(m, s)| f64::from(m) / 10f64.powi(s)),
            (any::<i32>(), 0i32..20).prop_map(|(m, s)| format!("{m}e-{s}").parse().expect("a decimal")),
            Just(f64::from_bits(STALE_NAN_BITS)),
            Just(f64::from_bits(0x7ff8_0000_0000_0001)),
            Just(-0.0),
            Just(0.0),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(f64::MIN_POSITIVE),
            Just(f64::from_bits(1)),
            Just(9_007_199_254_740_992.0),
            Just(-9_007_199_254_740_994.0),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_of_every_value_survives(
            pairs in proptest::collection::vec((any_value(), any_value()), 0..200),
        ) {
            let (values, bases): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            round_trip(&values, &bases);
            round_trip(&values, &values);
            round_trip(&values, &bases[..bases.len() / 2]);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300), count in 0usize..400) {
            let _ = decode(&mut Cursor::new(&bytes, "test"), &mut vec![1.5; count]);
        }
    }

    #[test]
    fn realistic_counters_and_gauges_take_less_than_two_bytes() {
        // A node exporter in small: CPU seconds with two decimals, packet and byte counters, bucket counts, load
        // averages, temperatures, mostly constant sizes.
        let mut bases = Vec::new();
        let mut values = Vec::new();
        for i in 0..500u32 {
            let seed = f64::from(i);
            let (base, value) = match i % 10 {
                0 => ((1_234_500.0 + seed) / 100.0, (1_234_500.0 + seed + 1_400.0) / 100.0),
                1 => (8.1e9 + seed, 8.1e9 + seed + 123_456.0),
                2 => (51_000.0 + seed, 51_000.0 + seed + 180.0),
                3 => ((10.0 + seed) / 100.0, (17.0 + seed) / 100.0),
                4 => (40.0 + seed, 41.0 + seed),
                5 => ((455.0 + seed) / 10.0, (456.0 + seed) / 10.0),
                _ => (seed, seed),
            };
            bases.push(base);
            values.push(value);
        }
        let bytes = round_trip(&values, &bases);
        assert!(bytes <= 2 * values.len(), "{bytes} bytes for {} values", values.len());
    }

    #[test]
    fn the_cost_of_a_value_is_what_it_takes() {
        let values = [0.0, 1.5, -7.25, 1e300, f64::NAN, 12_345.678, 300.0, f64::from_bits(STALE_NAN_BITS), 0.1];
        let (mut counting, mut writing) = (Scale::default(), Scale::default());
        for value in values {
            let mut out = Vec::new();
            put(value, 100.0, &mut writing, &mut out);
            assert_eq!(cost(value, 100.0, &mut counting), out.len(), "{value}");
        }
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::MAX] {
            let (mut count, mut out) = (Count(0), Vec::new());
            count.varint(number);
            out.varint(number);
            assert_eq!(count.0, out.len(), "{number}");
        }
    }

    #[test]
    fn a_column_of_full_precision_doubles_costs_at_most_nine_bytes_and_a_kind() {
        let values: Vec<f64> = (1..=400u32).map(|i| f64::from(i).sqrt().sin()).collect();
        assert!(round_trip(&values, &[]) <= 400 * 9 + 100);
    }
}
