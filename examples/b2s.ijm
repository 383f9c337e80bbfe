// Denoises the open image with a Blind2Sound service and opens the result beside it.
// Fiji or ImageJ: Plugins > Macros > Run... and choose this file. It needs curl, which Windows, macOS and Linux have.
// An image in 8, 16 or 32 bit, RGB, or a stack (all pages share one noise estimate); calibration is kept.

wait = "100";  // seconds that one request is held; longer jobs are asked for again

if (nImages == 0) exit("Open an image first.");
Dialog.create("Denoise with Blind2Sound");
Dialog.addString("Service", call("ij.Prefs.get", "b2s.url", "http://127.0.0.1:8000"), 30);
Dialog.addString("API key (empty: none)", "", 30);
Dialog.addNumber("Strength (0 to 1)", 1);
Dialog.show();
url = Dialog.getString();
key = Dialog.getString();
strength = "" + Dialog.getNumber();
call("ij.Prefs.set", "b2s.url", url);
if (key != "") key = " Bearer " + key;  // without a value curl sends no such header

title = getTitle();
noisy = getDirectory("temp") + "b2s-noisy.tif";
clean = getDirectory("temp") + "b2s-clean.tif";
setBatchMode(true);
run("Duplicate...", "title=b2s duplicate");  // saving renames an image, so a copy is saved
saveAs("Tiff", noisy);
close();

showStatus("Blind2Sound works...");
code = exec("curl", "--silent", "--show-error", "--request", "POST", "--upload-file", noisy, "--header", "Content-Type: application/octet-stream", "--header", "Accept: image/*, application/json;q=0.5", "--header", "Prefer: wait=" + wait, "--header", "Authorization:" + key, "--output", clean, "--write-out", "%{http_code}", url + "/denoise?output_format=tiff&strength=" + strength);
if (startsWith(code, "202")) {
    id = word(File.openAsString(clean), "id");
    state = "queued";
    while (state == "queued" || state == "running") {
        exec("curl", "--silent", "--header", "Authorization:" + key, "--output", clean, url + "/jobs/" + id + "?wait=" + wait);
        state = word(File.openAsString(clean), "state");
    }
    code = exec("curl", "--silent", "--show-error", "--header", "Authorization:" + key, "--output", clean, "--write-out", "%{http_code}", url + "/jobs/" + id + "/result");
}
File.delete(noisy);
if (!startsWith(code, "200")) {
    said = "The service does not answer at " + url + ". Is it started?";
    if (code != "" && !startsWith(code, "000") && File.exists(clean)) said = word(File.openAsString(clean), "detail");
    exit(said);
}
open(clean);
rename(title + " denoised");
File.delete(clean);
setBatchMode("exit and display");
showStatus("Denoised");

// The text value of a field of a JSON document, the first of that name.
function word(json, name) {
    begin = indexOf(json, "\"" + name + "\":\"");
    if (begin < 0) return "";
    begin += lengthOf(name) + 4;
    return substring(json, begin, indexOf(json, "\"", begin));
}
