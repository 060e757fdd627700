// The contrast of every text that is shown, by the formula of WCAG 2: [ratio, text, colour, ground].
(() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  function rgba(css) {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = css;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  }
  const over = ([r, g, b, a], below) => [r, g, b].map((one, index) => one * a + below[index] * (1 - a));
  const faded = (css, ...opacities) => {
    const [r, g, b, a] = rgba(css);
    return [r, g, b, opacities.reduce((all, one) => all * one, a)];
  };
  function luminance(colour) {
    const [r, g, b] = colour.map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function ratio(one, other) {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  }
  function ground(element) {
    const below = element.parentElement ? ground(element.parentElement) : [255, 255, 255];
    return over(rgba(getComputedStyle(element).backgroundColor), below);
  }
  const found = [];
  const tell = (colour, below, text) =>
    found.push([ratio(over(colour, below), below), text, over(colour, below).map(Math.round).join(), below.map(Math.round).join()]);

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const parent = node.parentElement;
    if (!node.data.trim() || !parent.checkVisibility() || parent.closest("svg, .unseen")) continue;
    tell(rgba(getComputedStyle(parent).color), ground(parent), node.data.trim());
  }
  for (const input of document.querySelectorAll("[placeholder]")) {
    const { color, opacity } = getComputedStyle(input, "::placeholder");
    tell(faded(color, opacity), ground(input), input.placeholder);
  }
  // A text in a picture stands on whatever was painted before it; its worst place counts.
  for (const text of document.querySelectorAll("svg text")) {
    const { x, y, width, height } = text.getBBox();
    const before = [...text.ownerSVGElement.querySelectorAll("rect")]
      .filter((rect) => rect.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)
      .map((rect) => [rect.getBBox(), getComputedStyle(rect)]);
    for (const part of [0.02, 0.25, 0.5, 0.75, 0.98]) {
      const [px, py] = [x + width * part, y + height / 2];
      const below = before
        .filter(([box]) => box.x <= px && px <= box.x + box.width && box.y <= py && py <= box.y + box.height)
        .reduce((all, [, { fill, fillOpacity, opacity }]) => over(faded(fill, fillOpacity, opacity), all), ground(text.ownerSVGElement));
      tell(rgba(getComputedStyle(text).fill), below, text.textContent);
    }
  }
  return found;
})()
