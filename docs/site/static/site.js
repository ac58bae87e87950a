// Browsers do not let a page that is opened as a file read others, from which the search would quote.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Sphinx's Korean lacks this sentence.
if (document.documentElement.lang === "ko") {
  Documentation.TRANSLATIONS["Search finished, found one page matching the search query."] =
    ["검색어가 나오는 페이지가 ${resultCount}개 있습니다."];
}

// A click or Enter on a picture shows it as large as the window; another, or Escape, goes back.
for (const picture of document.querySelectorAll("article img")) {
  picture.tabIndex = 0;
  picture.setAttribute("role", "button");
  const enlarge = () => {
    const dialog = document.createElement("dialog");
    dialog.className = "zoomed";
    const large = new Image();
    large.src = picture.src;
    large.alt = picture.alt;
    dialog.append(large);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => {
      if (!["Enter", "Escape"].includes(event.key)) return;
      event.preventDefault();
      dialog.close();    // also on Escape, which Sphinx takes for its own
    });
    dialog.addEventListener("close", () => { dialog.remove(); picture.focus(); });
    document.body.append(dialog);
    dialog.showModal();
  };
  picture.addEventListener("click", enlarge);
  picture.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); enlarge(); } });
}
