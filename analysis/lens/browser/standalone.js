// --- a lens in a file of its own -------------------------------------------------------------------------------------

/** The buffer that the file carries: base64 of its deflated bytes. */
async function carriedBuffer(text) {
  const packed = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

try {
  const data = await carriedBuffer(document.getElementById("buffer").textContent);
  showLens({ data, parentElement: document.body, setStateValue: () => {} });
} catch (error) {
  document.querySelector(".lens").append(
    element("p", { class: "failure", role: "alert" }, `The lens could not be opened in this browser: ${error.message}`),
  );
}

// In a frame of another page, say how much room it takes.
if (parent !== self) {
  new ResizeObserver(() => parent.postMessage({ lensHeight: document.body.offsetHeight }, "*")).observe(document.body);
}
