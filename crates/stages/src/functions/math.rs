//! Arithmetic. sprig converts whatever it is given; so do these.

use gotmpl::Value;

use super::{MAX_ITEMS, Table, list, to_float, to_int};

pub(super) fn fill(table: &mut Table) {
    integers(table);
    floats(table);
    table.add("until", 1, |a| {
        let end = to_int(a.value(0));
        steps(0, end, if end < 0 { -1 } else { 1 })
    });
    table.add("untilStep", 3, |a| steps(to_int(a.value(0)), to_int(a.value(1)), to_int(a.value(2))));
    table.at_least("seq", 1, |a| {
        let numbers: Vec<i64> = a.all().iter().map(to_int).collect();
        let (start, step, end) = match numbers.as_slice() {
            [end] => (1, if *end < 1 { -1 } else { 1 }, *end),
            [start, end] => (*start, if end < start { -1 } else { 1 }, *end),
            [start, step, end] => (*start, *step, *end),
            _ => return a.fail("one to three numbers are expected"),
        };
        let mut out = Vec::new();
        let mut at = start;
        while step != 0 && ((step > 0 && at <= end) || (step < 0 && at >= end)) && out.len() <= MAX_ITEMS {
            out.push(at.to_string());
            at = at.saturating_add(step);
        }
        super::text(out.join(" "))
    });
}

fn steps(start: i64, end: i64, step: i64) -> super::Outcome {
    let mut items = Vec::new();
    let mut at = start;
    while step != 0 && ((step > 0 && at < end) || (step < 0 && at > end)) && items.len() <= MAX_ITEMS {
        items.push(Value::Int(at));
        at = at.saturating_add(step);
    }
    list(items)
}

fn integers(table: &mut Table) {
    let int = |n| Ok(Value::Int(n));
    table.at_least("add", 1, move |a| int(a.all().iter().map(to_int).fold(0, i64::wrapping_add)));
    table.at_least("mul", 1, move |a| int(a.all().iter().map(to_int).fold(1, i64::wrapping_mul)));
    table.add("add1", 1, move |a| int(to_int(a.value(0)).wrapping_add(1)));
    table.add("sub", 2, move |a| int(to_int(a.value(0)).wrapping_sub(to_int(a.value(1)))));
    table.add("div", 2, move |a| match to_int(a.value(1)) {
        0 => a.fail("division by zero"),
        by => int(to_int(a.value(0)).wrapping_div(by)),
    });
    table.add("mod", 2, move |a| match to_int(a.value(1)) {
        0 => a.fail("division by zero"),
        by => int(to_int(a.value(0)).wrapping_rem(by)),
    });
    table.at_least("max", 1, move |a| int(a.all().iter().map(to_int).fold(i64::MIN, i64::max)));
    table.at_least("min", 1, move |a| int(a.all().iter().map(to_int).fold(i64::MAX, i64::min)));
    table.alias("biggest", "max");
    table.add("int", 1, move |a| int(to_int(a.value(0))));
    table.add("int64", 1, move |a| int(to_int(a.value(0))));
    table.add("atoi", 1, move |a| int(a.text(0)?.parse().unwrap_or(0)));
    table.add("toDecimal", 1, move |a| int(i64::from_str_radix(&super::to_text(a.value(0)), 8).unwrap_or(0)));
}

fn floats(table: &mut Table) {
    let float = |f| Ok(Value::Float(f));
    table.add("float64", 1, move |a| float(to_float(a.value(0))));
    table.at_least("addf", 1, move |a| float(a.all().iter().map(to_float).sum()));
    table.add("add1f", 1, move |a| float(to_float(a.value(0)) + 1.0));
    table.at_least("subf", 1, move |a| float(fold(a.all(), |x, y| x - y)));
    table.at_least("mulf", 1, move |a| float(fold(a.all(), |x, y| x * y)));
    table.at_least("divf", 1, move |a| float(fold(a.all(), |x, y| x / y)));
    table.at_least("maxf", 1, move |a| float(fold(a.all(), f64::max)));
    table.at_least("minf", 1, move |a| float(fold(a.all(), f64::min)));
    table.add("floor", 1, move |a| float(to_float(a.value(0)).floor()));
    table.add("ceil", 1, move |a| float(to_float(a.value(0)).ceil()));
    table.between("round", 2, 3, move |a| {
        let places = i32::try_from(to_int(a.value(1)).clamp(-300, 300)).unwrap_or(0);
        let round_on = a.args.get(2).map_or(0.5, to_float);
        let scale = 10_f64.powi(places);
        let scaled = to_float(a.value(0)) * scale;
        let rounded = if scaled.fract() >= round_on { scaled.ceil() } else { scaled.floor() };
        float(rounded / scale)
    });
}

fn fold(numbers: &[Value], with: impl Fn(f64, f64) -> f64) -> f64 {
    numbers.iter().map(to_float).reduce(with).unwrap_or(0.0)
}
