//! Pods a second as bars, with the slowest and the fastest run as whiskers.

use std::fmt::Write as _;

use super::report::Row;

const LABEL_WIDTH: f64 = 130.0;
const BAR_WIDTH: f64 = 420.0;
const ROW_HEIGHT: f64 = 34.0;
const TOP: f64 = 34.0;

/// A snapshot of its own, readable on light and dark ground.
pub(super) fn svg(rows: &[Row]) -> String {
    let height = TOP + ROW_HEIGHT * rows.len() as f64 + 8.0;
    let width = LABEL_WIDTH + BAR_WIDTH + 60.0;
    let most = rows.iter().map(|row| row.range().1).fold(1.0, f64::max);
    let x = |pods_per_second: f64| LABEL_WIDTH + pods_per_second / most * BAR_WIDTH;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#777\">\n\
         <text x=\"{LABEL_WIDTH}\" y=\"20\">pods/s: median, slowest and fastest run</text>\n"
    );
    for (at, row) in rows.iter().enumerate() {
        let top = TOP + ROW_HEIGHT * at as f64;
        let middle = top + ROW_HEIGHT / 2.0 - 4.0;
        let (least, fastest) = row.range();
        let color = if row.means.starts_with("sigma") { "#d9730d" } else { "#8a9ba8" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABEL_WIDTH}\" y=\"{top:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{color}\"/>\
             <path d=\"M{:.1} {middle:.0}H{:.1}\" stroke=\"#222\" stroke-width=\"2\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\">{:.0}</text>",
            LABEL_WIDTH - 8.0,
            middle + 5.0,
            row.means,
            x(row.pods_per_second) - LABEL_WIDTH,
            ROW_HEIGHT - 8.0,
            x(least),
            x(fastest),
            x(fastest) + 8.0,
            middle + 5.0,
            row.pods_per_second,
        );
    }
    out + "</svg>\n"
}
