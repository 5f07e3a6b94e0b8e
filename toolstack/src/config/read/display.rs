//! Framebuffers and keyboards of PV guests.

use super::reader::Reader;
use super::small::each;
use super::spec::Pair;
use crate::config::model::{DefBool, DomainConfig, Sdl, Vfb, Vkb, VkbBackend, Vnc};
use crate::config::syntax::Value;

const VFB: &[&str] = &[
    "vnc",
    "vnclisten",
    "vncdisplay",
    "vncunused",
    "vncpasswd",
    "sdl",
    "opengl",
    "display",
    "xauthority",
    "keymap",
    "type",
];
const VKB: &[&str] = &[
    "unique-id",
    "backend",
    "backend-type",
    "feature-disable-keyboard",
    "feature-disable-pointer",
    "feature-abs-pointer",
    "feature-raw-pointer",
    "feature-multi-touch",
    "width",
    "height",
    "multi-touch-width",
    "multi-touch-height",
    "multi-touch-num-contacts",
];

/// With each framebuffer comes a keyboard of the same number.
pub fn displays(reader: &mut Reader<'_>, out: &mut DomainConfig) {
    out.vkbs = each(reader, "vkb", vkb);
    out.vfbs = each(reader, "vfb", vfb);
    // As if `vfb` said it: `vnc` and its companions outside of it.
    if reader.flag("vnc") == DefBool::True {
        out.vfbs.push(toplevel(reader, out.vfbs.len() as i32));
    }
    for index in 0..out.vfbs.len() {
        out.vkbs.push(Vkb { devid: Some(index as i32), ..Vkb::default() });
    }
}

fn toplevel(reader: &mut Reader<'_>, devid: i32) -> Vfb {
    Vfb {
        devid: Some(devid),
        vnc: Vnc {
            enable: DefBool::True,
            listen: reader.text("vnclisten"),
            passwd: reader.text("vncpasswd"),
            display: reader.signed("vncdisplay").unwrap_or(0),
            findunused: reader.flag("vncunused"),
            ..Vnc::default()
        },
        sdl: Sdl { enable: reader.flag("sdl"), opengl: reader.flag("opengl"), ..Sdl::default() },
        keymap: reader.text("keymap"),
        ..Vfb::default()
    }
}

fn vfb(reader: &mut Reader<'_>, _: &Value, pairs: &[Pair<'_>], devid: i32) -> Vfb {
    let mut out = Vfb { devid: Some(devid), ..Vfb::default() };
    for pair in pairs {
        let flag = |reader: &mut Reader<'_>| pair.flag(reader).map(DefBool::from).unwrap_or_default();
        match pair.key {
            "vnc" => out.vnc.enable = flag(reader),
            "vnclisten" => out.vnc.listen = pair.owned(reader),
            "vncpasswd" => out.vnc.passwd = pair.owned(reader),
            "vncdisplay" => {
                out.vnc.display =
                    pair.number(reader, 0, 59_635).and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
            }
            "vncunused" => out.vnc.findunused = flag(reader),
            "sdl" => out.sdl.enable = flag(reader),
            "opengl" => out.sdl.opengl = flag(reader),
            "display" => out.sdl.display = pair.owned(reader),
            "xauthority" => out.sdl.xauthority = pair.owned(reader),
            "keymap" => out.keymap = pair.owned(reader),
            // xm's way to say vnc=1 or sdl=1; stock takes no notice of it.
            _ => pair.ignore(reader, "a framebuffer", VFB),
        }
    }
    out
}

fn vkb(reader: &mut Reader<'_>, _: &Value, pairs: &[Pair<'_>], devid: i32) -> Vkb {
    let mut out = Vkb { devid: Some(devid), ..Vkb::default() };
    for pair in pairs {
        let flag = |reader: &mut Reader<'_>| pair.flag(reader).unwrap_or(false);
        let size = |reader: &mut Reader<'_>| {
            pair.number(reader, 0, i64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
        };
        match pair.key {
            "backend" => out.backend_domname = pair.owned(reader),
            "backend-type" => {
                let types = [("qemu", VkbBackend::Qemu), ("linux", VkbBackend::Linux)];
                out.backend_type = pair.choice(reader, &types).unwrap_or_default();
            }
            "unique-id" => out.unique_id = pair.owned(reader),
            "feature-disable-keyboard" => out.feature_disable_keyboard = flag(reader),
            "feature-disable-pointer" => out.feature_disable_pointer = flag(reader),
            "feature-abs-pointer" => out.feature_abs_pointer = flag(reader),
            "feature-raw-pointer" => out.feature_raw_pointer = flag(reader),
            "feature-multi-touch" => out.feature_multi_touch = flag(reader),
            "width" => out.width = size(reader),
            "height" => out.height = size(reader),
            "multi-touch-width" => out.multi_touch_width = size(reader),
            "multi-touch-height" => out.multi_touch_height = size(reader),
            "multi-touch-num-contacts" => out.multi_touch_num_contacts = size(reader),
            _ => pair.refuse(reader, "a keyboard", VKB),
        }
    }
    out
}
