//! The files of the page, compiled into the binary: no request reads a file from disk.

/// A file with its path and content type.
pub struct Asset {
    pub path: &'static str,
    pub kind: &'static str,
    pub text: &'static str,
}

pub const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
/// What a browser shows for an address that does not exist.
pub const NOT_FOUND: &str = include_str!("not_found.html");

macro_rules! assets {
    ($($path:literal $kind:ident $file:literal)*) => {
        &[$(Asset { path: $path, kind: $kind, text: include_str!(concat!("page/", $file)) }),*]
};
}

pub const ASSETS: &[Asset] = assets! {
    "/" HTML "index.html"
    "/page.css" CSS "page.css"
    "/mark.svg" SVG "mark.svg"
    "/page.js" SCRIPT "page.js"
    "/about.js" SCRIPT "about.js"
    "/card.js" SCRIPT "card.js"
    "/dom.js" SCRIPT "dom.js"
    "/examples.js" SCRIPT "examples.js"
    "/icons.js" SCRIPT "icons.js"
    "/kept.js" SCRIPT "kept.js"
    "/lane.js" SCRIPT "lane.js"
    "/live.js" SCRIPT "live.js"
    "/live_samples.js" SCRIPT "live_samples.js"
    "/meaning.js" SCRIPT "meaning.js"
    "/overview.js" SCRIPT "overview.js"
    "/player.js" SCRIPT "player.js"
    "/recorder.js" SCRIPT "recorder.js"
    "/rows.js" SCRIPT "rows.js"
    "/rule.js" SCRIPT "rule.js"
    "/save.js" SCRIPT "save.js"
    "/send.js" SCRIPT "send.js"
    "/side_by_side.js" SCRIPT "side_by_side.js"
    "/spectrogram.js" SCRIPT "spectrogram.js"
    "/texts.js" SCRIPT "texts.js"
    "/trim.js" SCRIPT "trim.js"
    "/view.js" SCRIPT "view.js"
    "/wav.js" SCRIPT "wav.js"
};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use timbre_signal::audio::AUDIO_EXTENSIONS;

    use super::*;

    #[test]
    fn the_page_offers_the_files_that_the_decoder_reads() {
        let endings = AUDIO_EXTENSIONS.map(|ending| format!(".{ending}")).join(",");
        let page = ASSETS[0].text;
        assert!(page.contains(&format!("accept=\"audio/*,{endings}\"")), "write in index.html: {endings}");
    }

    #[test]
    fn every_file_of_the_page_is_served_once() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/page");
        let mut files: Vec<String> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let served = |path: &str| if path == "/" { "index.html".to_owned() } else { path[1..].to_owned() };
        let mut all: Vec<String> = ASSETS.iter().map(|asset| served(asset.path)).collect();
        files.sort();
        all.sort();
        assert_eq!(files, all);
    }

    #[test]
    fn the_page_loads_only_files_of_this_server() {
        let is_served = |path: &str| ASSETS.iter().any(|asset| asset.path == path);
        for asset in ASSETS {
            let imports =
                asset.text.split(" from \"./").skip(1).map(|rest| format!("/{}", rest.split('"').next().unwrap()));
            let named = ["src=\"/", "href=\"/"].into_iter().flat_map(|attribute| asset.text.split(attribute).skip(1));
            let named = named.map(|rest| format!("/{}", rest.split('"').next().unwrap()));
            for path in imports.chain(named) {
                assert!(is_served(&path), "{} loads {path}", asset.path);
            }
            let addresses = asset.text.matches("http:").count() + asset.text.matches("https:").count();
            let svg_namespaces = asset.text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(addresses, svg_namespaces, "{} names another host", asset.path);
            assert!(
                !asset.text.contains("<style") && !asset.text.contains("style=\""),
                "{}: the content security policy forbids inline styles",
                asset.path
            );
        }
    }
}
