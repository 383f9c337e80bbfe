/** Where files are dropped: single ones, many, or folders with all that is below them. */

/** Make `zone` take files; `onFiles` gets them, those of folders by their paths' order. */
export function takeDrops(zone, onFiles, onError) {
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    Promise.all(entries.map(filesOf)).then((found) => onFiles(found.flat())).catch(onError);
  });
}

/** Files of a folder that a person means: not those that the system hides in it. */
export const visible = (files) => files.filter((file) => !file.name.startsWith("."));

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader gives a hundred entries at a time, then none.
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) break;
    found.push(...some);
  }
  found.sort((a, b) => (a.name < b.name ? -1 : 1));
  return visible((await Promise.all(found.map(filesOf))).flat());
}
