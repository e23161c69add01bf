"""Texts of one sentence a line in many languages, for benchmarks/sentences.py and the tests. All are made up.

They have what may mislead: commas and colons, decimal points, abbreviations and initials, quotations, an ellipsis in
mid-sentence.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

_TEXTS = {
    "am": """
        ዛሬ፣ ጠዋት፣ ወደ ገበያ ሄድን።
        ሽንኩርት፣ ቲማቲም እና ጨው ገዛን።
        ይህ ዋጋው ስንት ነው?
        ዋጋው 3.50 ብር ነው፤ ርካሽ ነው።
        አሁን ምግብ እንሠራለን፡፡
        በጣም ጣፋጭ ነው!
        ለሁሉም አመሰግናለሁ።
        """,
    "ar": """
        في هذا اليوم، نطبخ معا طبقا جديدا، وهو سهل جدا.
        نحتاج إلى ثلاثة أشياء: البصل، والطماطم، والملح.
        هل أنتم مستعدون؟
        قال د. أحمد إن السعر 3.50 دولار فقط.
        لكن، قبل ذلك، نغسل الخضار جيدا؛ هذا مهم.
        كنت أفكر... ربما نضيف الليمون.
        ما أجمل هذا!
        شكرا لكم على المشاهدة.
        """,
    "bn": """
        আজ আমরা রান্না করব, সবাই মিলে।
        আমাদের পেঁয়াজ, টমেটো আর লবণ লাগবে।
        আপনি কি প্রস্তুত?
        ডা. সেন বললেন, দাম ৩.৫০ টাকা।
        কী সুন্দর!
        সবাইকে ধন্যবাদ।
        """,
    "cs": """
        Dnes spolu uvaříme polévku, která je úplně jednoduchá.
        Potřebujeme cibuli, česnek např. z trhu a 2,5 litru vody.
        Máte všechno připravené?
        Dr. Novák říká, že sůl přijde až nakonec.
        To je... skoro hotové.
        Dobrou chuť!
        """,
    "de": """
        Heute bauen wir zusammen ein kleines Regal, und zwar aus Kiefer.
        Dr. Weber meint, dass 3.5 Zentimeter reichen, z.B. für Bücher.
        Haben Sie alles bereit?
        Am 3. Mai habe ich das Holz gekauft.
        Das ist... gar nicht so schwer.
        So, jetzt wird gebohrt!
        Bis zum nächsten Mal.
        """,
    "el": """
        Σήμερα θα μαγειρέψουμε μαζί, κάτι πολύ απλό.
        Θέλουμε τρία πράγματα: κρεμμύδι, ντομάτα και αλάτι.
        Είστε έτοιμοι;
        Ο κ. Παπάς λέει ότι κοστίζει 3.50 ευρώ.
        Το ρίχνουμε στην κατσαρόλα· μετά περιμένουμε.
        Τι ωραία που μυρίζει!
        Ποιος θέλει να δοκιμάσει;
        Ευχαριστώ πολύ.
        """,
    "en": """
        Today we build a small shelf, and it is easier than it looks.
        Dr. Smith paid 3.50 dollars for it, i.e. next to nothing.
        Are you ready?
        She said that "it works" and left at 5 p.m. on Friday.
        I was thinking... maybe we should use glue.
        What a mess!
        Thanks for watching.
        """,
    "es": """
        Hoy vamos a preparar una sopa muy sencilla, ¿de acuerdo?
        Necesitamos tres cosas: cebolla, tomate y sal.
        ¿Están listos?
        El Dr. García dice que cuesta 3.50 euros.
        Pensaba... quizá le ponemos limón.
        ¡Qué bien huele!
        Gracias por estar aquí.
        """,
    "fa": """
        امروز با هم یک غذای ساده می‌پزیم، خیلی راحت است.
        سه چیز لازم داریم: پیاز، گوجه و نمک.
        آماده هستید؟
        قیمت آن 3.50 تومان است؛ ارزان است.
        چه بوی خوبی!
        از همه شما ممنونم.
        """,
    "fi": """
        Tänään teemme keittoa, joka on aivan helppo.
        Tarvitsemme sipulia, valkosipulia ja esim. tomaattia.
        Oletteko valmiita?
        Se maksaa 3,50 euroa, eli ei paljon.
        Ajattelin... ehkä lisätään suolaa.
        Kiitos kaikille!
        """,
    "fr": """
        Aujourd'hui, nous préparons une soupe toute simple.
        Il nous faut trois choses : un oignon, une tomate et du sel.
        Vous êtes prêts ?
        M. Dupont dit que cela coûte 3.50 euros.
        Je pensais... peut-être un peu de citron.
        « Quelle bonne odeur ! » dit le voisin.
        Merci à tous.
        """,
    "he": """
        היום נבשל יחד משהו פשוט, ממש פשוט.
        אנחנו צריכים שלושה דברים: בצל, עגבנייה ומלח.
        אתם מוכנים?
        המחיר הוא 3.50 שקלים בלבד.
        איזה ריח טוב!
        תודה לכולם.
        """,
    "hi": """
        आज हम सब मिलकर खाना बनाएंगे, बहुत आसान है।
        हमें तीन चीज़ें चाहिए: प्याज़, टमाटर और नमक।
        क्या आप तैयार हैं?
        डॉ. शर्मा ने कहा कि दाम 3.50 रुपये है।
        कितनी अच्छी खुशबू है!
        आप सबका धन्यवाद।
        """,
    "hu": """
        Ma együtt főzünk egy levest, ami nagyon egyszerű.
        Kell hozzá hagyma, paradicsom és pl. egy kis só.
        Készen álltok?
        Dr. Kovács szerint 3,50 euróba kerül.
        Milyen finom illata van!
        Köszönöm szépen.
        """,
    "hy": """
        Այսօր մենք միասին կեր ենք պատրաստում, շատ պարզ է։
        Մեզ պետք է երեք բան՝ սոխ, լոլիկ և աղ։
        Պատրա՞ստ եք դուք։
        Ի՜նչ լավ է բուրում այս ամենը։
        Գինը 3.50 դրամ է։
        Շնորհակալություն բոլորին։
        """,
    "id": """
        Hari ini kita memasak sup, sangat mudah.
        Kita perlu tiga hal: bawang, tomat, dan garam.
        Apakah Anda siap?
        Harganya 3.50 dolar saja.
        Harum sekali!
        Terima kasih semuanya.
        """,
    "it": """
        Oggi prepariamo insieme una zuppa, davvero semplice.
        Ci servono tre cose: cipolla, pomodoro e sale.
        Siete pronti?
        Il dott. Rossi dice che costa 3.50 euro.
        Pensavo... forse un po' di limone.
        Che profumo!
        Grazie a tutti.
        """,
    "ja": """
        今日は、とても簡単な料理を作ります。
        必要なものは三つ、玉ねぎ、トマト、塩です。
        準備はいいですか？
        値段は3.5ドルだけです。
        先生は「おいしい。とても。」と言いました。
        いい匂いですね！
        ありがとうございました。
        """,
    "ka": """
        დღეს ერთად ვამზადებთ სუპს, ძალიან მარტივია.
        გვჭირდება სამი რამ: ხახვი, პომიდორი და მარილი.
        მზად ხართ?
        ფასი 3.50 ლარია.
        რა კარგი სუნია!
        გმადლობთ ყველას.
        """,
    "km": """
        ថ្ងៃនេះ យើងធ្វើម្ហូបជាមួយគ្នា។
        យើងត្រូវការ ខ្ទឹម ប៉េងប៉ោះ និងអំបិល។
        តើអ្នករួចរាល់ហើយឬនៅ?
        តម្លៃ 3.50 ដុល្លារ។
        ក្រអូបណាស់!
        សូមអរគុណ។
        """,
    "ko": """
        오늘은 아주 간단한 요리를, 같이 만들어 봅시다.
        필요한 것은 세 가지: 양파, 토마토, 소금입니다.
        준비되셨나요?
        값은 3.5달러입니다.
        냄새가 정말 좋네요!
        감사합니다.
        """,
    "mr": """
        आज आपण एकत्र स्वयंपाक करू, खूप सोपे आहे.
        आपल्याला कांदा, टोमॅटो आणि मीठ लागेल.
        तुम्ही तयार आहात का?
        किंमत 3.50 रुपये आहे.
        किती छान वास आहे!
        सर्वांचे आभार.
        """,
    "my": """
        ဒီနေ့၊ ကျွန်တော်တို့ ဟင်းချက်မယ်။
        ကြက်သွန်၊ ခရမ်းချဉ်သီး၊ ဆား လိုတယ်။
        အဆင်သင့် ဖြစ်ပြီလား။
        ဈေးက 3.50 ကျပ်ပါ။
        မွှေးလိုက်တာ။
        ကျေးဇူးတင်ပါတယ်။
        """,
    "nl": """
        Vandaag maken we samen soep, en dat is heel eenvoudig.
        We hebben drie dingen nodig: ui, tomaat en zout.
        Zijn jullie klaar?
        Dr. Jansen zegt dat het 3.50 euro kost.
        Ik dacht... misschien wat citroen.
        Wat ruikt dat lekker!
        Bedankt voor het kijken.
        """,
    "pl": """
        Dziś ugotujemy razem zupę, która jest bardzo prosta.
        Potrzebujemy cebuli, pomidora i soli.
        Czy jesteście gotowi?
        Dr Nowak mówi, że kosztuje 3.50 złotego.
        Myślałem... może trochę cytryny.
        Jak pięknie pachnie!
        Dziękuję wszystkim.
        """,
    "pt": """
        Hoje vamos fazer uma sopa, que é muito simples.
        Precisamos de três coisas: cebola, tomate e sal.
        Vocês estão prontos?
        O Sr. Silva e a Dra. Costa dizem que custa 3.50 euros.
        Eu pensei... talvez um pouco de limão.
        Que cheiro bom!
        Obrigado a todos.
        """,
    "ro": """
        Astăzi facem împreună o supă, foarte simplă.
        Avem nevoie de trei lucruri: ceapă, roșie și sare.
        Sunteți gata?
        Dl. Popescu spune că face 3.50 lei.
        Ce bine miroase!
        Mulțumesc tuturor.
        """,
    "ru": """
        Сегодня мы вместе сварим суп, это очень просто.
        Нам нужны три вещи: лук, помидор и соль.
        Вы готовы?
        Он стоит 3.50 рубля, т.е. недорого.
        Я думал... может быть, немного лимона.
        Как вкусно пахнет!
        Спасибо всем.
        """,
    "sv": """
        I dag lagar vi soppa tillsammans, och den är enkel.
        Vi behöver tre saker: lök, tomat och t.ex. salt.
        Är ni redo?
        J. Berg säger att det kostar 3.50 kronor.
        Jag tänkte... kanske lite citron.
        Vad gott det luktar!
        Tack för att ni tittade.
        """,
    "ta": """
        இன்று நாம் சேர்ந்து சமைப்போம், மிகவும் எளிது.
        நமக்கு வெங்காயம், தக்காளி, உப்பு தேவை.
        நீங்கள் தயாரா?
        விலை 3.50 ரூபாய் மட்டுமே.
        என்ன நல்ல மணம்!
        அனைவருக்கும் நன்றி.
        """,
    "tr": """
        Bugün birlikte çorba yapıyoruz, çok kolay.
        Üç şey gerekiyor: soğan, domates ve tuz.
        Hazır mısınız?
        Doç. Kaya fiyatının 3.50 lira olduğunu söylüyor.
        Ne güzel kokuyor!
        Herkese teşekkürler.
        """,
    "uk": """
        Сьогодні ми разом зваримо суп, це дуже просто.
        Нам потрібні три речі: цибуля, помідор і сіль.
        Ви готові?
        Він коштує 3.50 гривні, тобто недорого.
        Як смачно пахне!
        Дякую всім.
        """,
    "ur": """
        آج ہم سب مل کر کھانا بنائیں گے، بہت آسان ہے۔
        ہمیں تین چیزیں چاہئیں: پیاز، ٹماٹر اور نمک۔
        کیا آپ تیار ہیں؟
        اس کی قیمت 3.50 روپے ہے۔
        کتنی اچھی خوشبو ہے!
        آپ سب کا شکریہ۔
        """,
    "vi": """
        Hôm nay chúng ta cùng nấu súp, rất đơn giản.
        Chúng ta cần ba thứ: hành, cà chua và muối.
        Các bạn đã sẵn sàng chưa?
        Giá của nó là 3.50 đô la.
        Thơm quá!
        Cảm ơn tất cả các bạn.
        """,
    "zh": """
        今天，我们来做一道很简单的菜。
        我们需要三样东西：洋葱、番茄和盐。
        你们准备好了吗？
        价格只要3.5元；很便宜。
        我在想……也许可以加一点柠檬。
        真香啊！
        谢谢大家。
        """,
}
TEXTS = {language: [line.strip() for line in text.strip().split("\n")] for language, text in _TEXTS.items()}
"""By language (ISO 639-1), its sentences."""

_UNSTOPPED = {
    "th": """
        สวัสดีครับ
        วันนี้เราจะทำอาหารกัน
        เราต้องใช้หอมแดง มะเขือเทศ และเกลือ
        พร้อมหรือยัง
        ราคา 3.50 บาท
        หอมมาก
        ขอบคุณครับ
        """,
    "lo": """
        ສະບາຍດີ
        ມື້ນີ້ພວກເຮົາຈະເຮັດອາຫານ
        ພວກເຮົາຕ້ອງການ ຫົວຜັກບົ່ວ ໝາກເລັ່ນ ແລະ ເກືອ
        ພ້ອມແລ້ວບໍ
        ຫອມຫຼາຍ
        ຂອບໃຈ
        """,
}
UNSTOPPED = {language: [line.strip() for line in text.strip().split("\n")] for language, text in _UNSTOPPED.items()}
"""Sentences in the languages that have no full stop."""


def cues_of(sentences: Sequence[str], language: str, chance: random.Random, longest: int = 24) -> list[str]:
    """The sentences as cues of up to about `longest` characters, which end anywhere but inside words and numbers."""
    if language in ("zh", "ja"):
        parts = re.findall(r"[ -~]+|[^ -~]", "".join(sentences))
    else:
        parts = [f"{word} " for word in " ".join(sentences).split()]
    cues, line = [], ""
    for part in parts:
        line += part
        if len(line) >= chance.randint(longest // 3, longest) // (2 if language in ("zh", "ja") else 1):
            cues.append(line.strip())
            line = ""
    return [*cues, line.strip()] if line else cues


def srt_of(cues: Iterable[tuple[float, float, str]]) -> str:
    """A SubRip file of cues: start and end in seconds, and text."""
    return "".join(f"{n}\n{_stamp(a)} --> {_stamp(b)}\n{text}\n\n" for n, (a, b, text) in enumerate(cues, 1))


def _stamp(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"
