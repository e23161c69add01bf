"""Made-up subtitles in 56 languages, a line a cue, with the letters and signs that each language is written with."""

from __future__ import annotations

TEXTS: dict[str, str] = {
    "af": """
        Goeiemôre, almal, en welkom terug in my kombuis.
        Vandag maak ons ’n eenvoudige sop met uie en wortels.
        Sê vir my, hoeveel sout moet ons bygooi?
        Ek het gister die brood by die bakkery om die hoek gekoop.
        Die reën het die hele nag geval, en nou is alles nat.
        Môre gaan ons see toe, as die weer beter is.
        Daar is nog baie te doen voordat die gaste kom.
        Dankie dat julle gekyk het, tot volgende week.""",
    "ar": """
        صباح الخير جميعا، أهلا بكم في مطبخي.
        اليوم سوف نحضر حساء بسيطا من البصل والجزر.
        كم ملعقة من الملح يجب أن نضيف؟
        اشتريت الخبز أمس من المخبز القريب من البيت.
        نزل المطر طوال الليل، والآن كل شيء مبلل.
        غدا سنذهب إلى البحر إذا كان الطقس أفضل.
        ما زال هناك عمل كثير قبل وصول الضيوف.
        شكرا على المشاهدة، إلى اللقاء في الأسبوع القادم.""",
    "be": """
        Добрай раніцы, сябры, вітаю вас на маёй кухні.
        Сёння мы зварым просты суп з цыбулі і морквы.
        Колькі солі трэба дадаць, як вы думаеце?
        Хлеб я купіла ўчора ў пякарні за рогам.
        Усю ноч ішоў дождж, і цяпер усё мокрае.
        Заўтра мы паедзем на мора, калі надвор’е будзе лепшае.
        Яшчэ шмат што трэба зрабіць, перш чым прыйдуць госці.
        Дзякуй за ўвагу, да сустрэчы праз тыдзень.""",
    "bg": """
        Добро утро на всички и добре дошли в моята кухня.
        Днес ще сготвим проста супа от лук и моркови.
        Колко сол трябва да сложим според вас?
        Хляба го купих вчера от пекарната зад ъгъла.
        Цяла нощ валя дъжд и сега всичко е мокро.
        Утре ще отидем на море, ако времето е по-добро.
        Има още много работа, преди да дойдат гостите.
        Благодаря ви, че гледахте, до следващата седмица.""",
    "bn": """
        সবাইকে শুভ সকাল, আমার রান্নাঘরে স্বাগতম।
        আজ আমরা পেঁয়াজ আর গাজর দিয়ে সহজ একটা স্যুপ রান্না করব।
        কতটা লবণ দিতে হবে বলে মনে হয়?
        রুটিটা গতকাল পাশের দোকান থেকে কিনেছি।
        সারারাত বৃষ্টি হয়েছে, এখন সবকিছু ভেজা।
        দেখার জন্য ধন্যবাদ, আগামী সপ্তাহে দেখা হবে।""",
    "bs": """
        Dobro jutro svima i dobro došli u moju kuhinju.
        Danas ćemo skuhati jednostavnu čorbu od luka i mrkve.
        Šta mislite, koliko soli treba dodati?
        Hljeb sam kupila jučer u pekari iza ćoška.
        Cijelu noć je padala kiša i sada je sve mokro.
        Sutra idemo na more, ako vrijeme bude ljepše.
        Još mnogo toga treba uraditi prije nego što dođu gosti.
        Hvala što ste gledali, vidimo se sljedeće sedmice.""",
    "ca": """
        Bon dia a tothom i benvinguts a la meva cuina.
        Avui farem una sopa senzilla de ceba i pastanaga.
        Quanta sal creieu que hi hem de posar?
        El pa el vaig comprar ahir al forn de la cantonada, però és bo.
        Ha plogut tota la nit i ara és tot moll; això és així.
        Demà anirem a la platja si fa més bon temps.
        Encara queda molta feina abans que arribin els amics.
        Gràcies per mirar-nos, ens veiem la setmana que ve. Col·legues, adéu!""",
    "cs": """
        Dobré ráno všem a vítejte zpátky v mé kuchyni.
        Dnes uvaříme jednoduchou polévku z cibule a mrkve.
        Kolik soli bychom podle vás měli přidat?
        Chléb jsem koupila včera v pekárně za rohem.
        Celou noc pršelo a teď je všechno mokré.
        Zítra pojedeme k moři, jestli bude lepší počasí.
        Ještě je třeba udělat spoustu věcí, než přijdou hosté.
        Děkuji, že jste se dívali, uvidíme se příští týden. Ať se daří!""",
    "cy": """
        Bore da bawb, a chroeso yn ôl i’m cegin i.
        Heddiw byddwn ni’n gwneud cawl syml gyda nionod a moron.
        Faint o halen ddylen ni ei ychwanegu, dych chi’n meddwl?
        Prynais i’r bara ddoe yn y siop ar y gornel.
        Roedd hi’n bwrw glaw drwy’r nos, a nawr mae popeth yn wlyb, fel môr.
        Yfory byddwn ni’n mynd i’r traeth os bydd y tywydd yn well.
        Mae llawer i’w wneud cyn i’r gwesteion gyrraedd.
        Diolch am wylio, wela i chi yr wythnos nesaf. Tân, tŷ a chân.""",
    "da": """
        Godmorgen alle sammen, og velkommen tilbage i mit køkken.
        I dag laver vi en enkel suppe af løg og gulerødder.
        Hvor meget salt synes I, vi skal komme i?
        Brødet købte jeg i går hos bageren på hjørnet.
        Det har regnet hele natten, og nu er alting vådt.
        I morgen tager vi til stranden, hvis vejret bliver bedre.
        Der er stadig meget at gøre, før gæsterne kommer.
        Tak fordi I så med, vi ses i næste uge.""",
    "de": """
        Guten Morgen zusammen und willkommen zurück in meiner Küche.
        Heute kochen wir eine einfache Suppe aus Zwiebeln und Möhren.
        Wie viel Salz müssen wir wohl hinzufügen?
        Das Brot habe ich gestern beim Bäcker um die Ecke gekauft.
        Es hat die ganze Nacht geregnet, und jetzt ist alles nass.
        Morgen fahren wir ans Meer, wenn das Wetter schöner ist.
        Es gibt noch viel zu tun, bevor die Gäste kommen – sehr viel.
        Danke fürs Zuschauen, „bis nächste Woche“, und schöne Grüße.""",
    "el": """
        Καλημέρα σε όλους και καλώς ήρθατε πάλι στην κουζίνα μου.
        Σήμερα θα φτιάξουμε μια απλή σούπα με κρεμμύδια και καρότα.
        Πόσο αλάτι λέτε να βάλουμε;
        Το ψωμί το αγόρασα χθες από τον φούρνο στη γωνία.
        Έβρεχε όλη τη νύχτα και τώρα όλα είναι βρεγμένα.
        Αύριο θα πάμε στη θάλασσα, αν ο καιρός είναι καλύτερος.
        Έχουμε πολλή δουλειά ακόμα πριν έρθουν οι καλεσμένοι.
        Ευχαριστώ που μας είδατε, τα λέμε την άλλη εβδομάδα.""",
    "en": """
        Good morning everybody, and welcome back to my kitchen.
        Today we’re making a simple soup of onions and carrots.
        How much salt do you think we should add?
        I bought the bread yesterday at the little café round the corner.
        It rained all night — and now everything is wet.
        Tomorrow we’ll go to the sea, if the weather’s better.
        “There is still a lot to do,” she said, “before the guests arrive.”
        Thanks for watching, and see you next week…""",
    "eo": """
        Bonan matenon al ĉiuj, kaj bonvenon en mia kuirejo.
        Hodiaŭ ni faros simplan supon el cepoj kaj karotoj.
        Kiom da salo ni aldonu, laŭ via opinio?
        La panon mi aĉetis hieraŭ ĉe la bakisto.
        La tutan nokton pluvis, kaj nun ĉio estas malseka.
        Dankon pro via atento, ĝis la venonta semajno.""",
    "es": """
        Buenos días a todos y bienvenidos otra vez a mi cocina.
        Hoy vamos a hacer una sopa sencilla de cebolla y zanahoria.
        ¿Cuánta sal creéis que tenemos que añadir?
        El pan lo compré ayer en la panadería de la esquina.
        Llovió toda la noche, y ahora está todo mojado.
        Mañana iremos a la playa si hace mejor tiempo.
        Todavía queda mucho por hacer antes de que lleguen los invitados.
        ¡Gracias por vernos, hasta la próxima semana!""",
    "et": """
        Tere hommikust kõigile ja tere tulemast tagasi minu kööki.
        Täna keedame lihtsat suppi sibulast ja porgandist.
        Kui palju soola me teie arvates lisama peaksime?
        Leiva ostsin eile nurga pealt pagariärist.
        Terve öö sadas vihma ja nüüd on kõik märg.
        Homme läheme mere äärde, kui ilm on parem.
        Enne külaliste tulekut on veel palju tööd teha.
        Aitäh vaatamast, näeme järgmisel nädalal. Garaaž ja šokolaad.""",
    "eu": """
        Egun on guztioi eta ongi etorri berriro nire sukaldera.
        Gaur zopa erraz bat egingo dugu tipulaz eta azenarioz.
        Zenbat gatz bota behar dugula uste duzue?
        Ogia atzo erosi nuen izkinako okindegian, mañana esan gabe.
        Gau osoan euria egin du, eta orain dena bustita dago.
        Bihar hondartzara joango gara, eguraldi hobea badago.
        Oraindik lan asko dago gonbidatuak iritsi baino lehen; Iruñean.
        Eskerrik asko ikusteagatik, hurrengo astera arte.""",
    "fa": """
        صبح بخیر به همه، به آشپزخانه من خوش آمدید.
        امروز یک سوپ ساده با پیاز و هویج می‌پزیم.
        فکر می‌کنید چقدر نمک باید اضافه کنیم؟
        نان را دیروز از نانوایی سر کوچه خریدم.
        تمام شب باران می‌آمد و حالا همه چیز خیس است.
        فردا اگر هوا بهتر باشد به دریا می‌رویم.
        هنوز کارهای زیادی مانده پیش از این که مهمان‌ها برسند.
        ممنون که نگاه کردید، تا هفته بعد خداحافظ.""",
    "fi": """
        Hyvää huomenta kaikille ja tervetuloa takaisin keittiööni.
        Tänään keitämme yksinkertaisen keiton sipulista ja porkkanasta.
        Kuinka paljon suolaa meidän pitäisi lisätä?
        Leivän ostin eilen kulman takana olevasta leipomosta.
        Koko yön satoi vettä, ja nyt kaikki on märkää.
        Huomenna menemme merelle, jos sää on parempi.
        On vielä paljon tehtävää, ennen kuin vieraat tulevat.
        Kiitos kun katsoitte, nähdään ensi viikolla.""",
    "fr": """
        Bonjour à tous et bienvenue dans ma cuisine.
        Aujourd’hui, nous préparons une soupe très simple aux oignons et aux carottes.
        Combien de sel faut-il ajouter, à votre avis ?
        J’ai acheté le pain hier à la boulangerie du coin, où il est bon.
        Il a plu toute la nuit, et maintenant tout est mouillé.
        Demain, nous irons à la mer si le temps s’améliore, ça sera chouette.
        « Il y a encore beaucoup à faire », dit ma sœur, « avant que les invités arrivent ».
        Merci d’avoir regardé, à la semaine prochaine… Bon été !""",
    "ga": """
        Maidin mhaith do chách, agus fáilte ar ais chuig mo chistin.
        Inniu déanfaimid anraith simplí le hoinniúin agus cairéid.
        Cé mhéad salainn ba chóir dúinn a chur leis?
        Cheannaigh mé an t-arán inné sa bhácús ar an gcúinne.
        Bhí sé ag cur báistí an oíche ar fad, agus anois tá gach rud fliuch.
        Rachaimid cois farraige amárach má bhíonn an aimsir níos fearr.
        Go raibh maith agaibh as féachaint, slán go fóill.""",
    "gl": """
        Bos días a todos e benvidos de novo á miña cociña.
        Hoxe imos facer unha sopa sinxela de cebola e cenoria.
        Canto sal cres que temos que engadir?
        O pan merqueino onte na panadería da esquina.
        Choveu toda a noite, e agora está todo mollado.
        Mañá iremos á praia se vai mellor tempo.
        Aínda queda moito por facer antes de que cheguen os convidados.
        Grazas por vernos, ata a próxima semana. Vacacións e corazón.""",
    "gu": """
        બધાને સુપ્રભાત, મારા રસોડામાં આપનું સ્વાગત છે.
        આજે આપણે ડુંગળી અને ગાજરનો સાદો સૂપ બનાવીશું.
        તમને શું લાગે છે, કેટલું મીઠું નાખવું જોઈએ?
        આખી રાત વરસાદ પડ્યો, અને હવે બધું ભીનું છે.""",
    "he": """
        בוקר טוב לכולם וברוכים השבים למטבח שלי.
        היום נכין מרק פשוט מבצל וגזר.
        כמה מלח לדעתכם צריך להוסיף?
        את הלחם קניתי אתמול במאפייה מעבר לפינה.
        ירד גשם כל הלילה, ועכשיו הכול רטוב.
        מחר ניסע לים אם מזג האוויר יהיה טוב יותר.
        יש עוד הרבה מה לעשות לפני שהאורחים מגיעים.
        תודה שצפיתם, נתראה בשבוע הבא.""",
    "hi": """
        सभी को सुप्रभात, मेरी रसोई में आपका फिर से स्वागत है।
        आज हम प्याज और गाजर का आसान सूप बनाएँगे।
        आपको क्या लगता है, कितना नमक डालना चाहिए?
        रोटी मैंने कल नुक्कड़ की दुकान से खरीदी थी।
        सारी रात बारिश हुई, और अब सब कुछ गीला है।
        देखने के लिए धन्यवाद, अगले हफ्ते मिलते हैं।""",
    "hr": """
        Dobro jutro svima i dobro došli natrag u moju kuhinju.
        Danas ćemo skuhati jednostavnu juhu od luka i mrkve.
        Što mislite, koliko soli trebamo dodati?
        Kruh sam kupila jučer u pekarnici iza ugla.
        Cijelu noć je padala kiša i sada je sve mokro.
        Sutra idemo na more, ako bude ljepše vrijeme.
        Ima još puno posla prije nego što dođu gosti.
        Hvala što ste gledali, vidimo se idući tjedan. Žao mi je.""",
    "hu": """
        Jó reggelt mindenkinek, és üdvözlöm önöket újra a konyhámban.
        Ma egy egyszerű levest főzünk hagymából és répából.
        Mit gondoltok, mennyi sót kellene hozzátennünk?
        A kenyeret tegnap vettem a sarki pékségben.
        Egész éjjel esett az eső, és most minden nedves.
        Holnap elmegyünk a tengerhez, ha jobb lesz az idő.
        Még rengeteg a tennivaló, mielőtt megérkeznek a vendégek.
        Köszönöm, hogy megnézték, találkozunk a jövő héten. Fűszer és őszibarack.""",
    "hy": """
        Բարի լույս բոլորին, բարի գալուստ իմ խոհանոց։
        Այսօր մենք կպատրաստենք պարզ ապուր սոխով և գազարով։
        Ամբողջ գիշեր անձրև էր գալիս, և հիմա ամեն ինչ թաց է։
        Շնորհակալություն դիտելու համար, կհանդիպենք հաջորդ շաբաթ։""",
    "id": """
        Selamat pagi semuanya, selamat datang kembali di dapur saya.
        Hari ini kita akan membuat sup sederhana dari bawang dan wortel.
        Menurut kalian, berapa banyak garam yang harus kita tambahkan?
        Rotinya saya beli kemarin di “Café Senja” dekat sini.
        Semalaman turun hujan, dan sekarang semuanya basah.
        Besok kita pergi ke pantai kalau cuacanya lebih baik.
        Terima kasih sudah menonton, sampai jumpa minggu depan.""",
    "is": """
        Góðan daginn öll og velkomin aftur í eldhúsið mitt.
        Í dag ætlum við að elda einfalda súpu úr lauk og gulrótum.
        Hvað haldið þið að við eigum að setja mikið salt?
        Brauðið keypti ég í gær í bakaríinu á horninu.
        Það rigndi í alla nótt og nú er allt blautt.
        Á morgun förum við í fjöruna ef veðrið verður betra.
        Það er enn margt sem þarf að gera áður en gestirnir koma.
        Takk fyrir að horfa, sjáumst í næstu viku.""",
    "it": """
        Buongiorno a tutti e bentornati nella mia cucina.
        Oggi prepariamo una zuppa semplice di cipolle e carote.
        Quanto sale pensate che dobbiamo aggiungere?
        Il pane l’ho comprato ieri dal fornaio all’angolo, perché è più buono.
        Ha piovuto tutta la notte, e adesso è tutto bagnato.
        Domani andremo al mare, se il tempo sarà migliore.
        C’è ancora molto da fare prima che arrivino gli ospiti.
        Grazie per averci seguito, ci vediamo la settimana prossima. Così è la vita, però.""",
    "ja": """
        皆さん、おはようございます。また私の台所へようこそ。
        今日は玉ねぎと人参で簡単なスープを作ります。
        塩はどのくらい入れたらいいと思いますか？
        パンは昨日、角のパン屋さんで買いました。
        一晩中雨が降って、今はすべてが濡れています。
        明日、天気がよければ海に行きましょう。
        お客さんが来る前に、まだやることがたくさんあります。
        ご覧いただきありがとうございました。また来週お会いしましょう。""",
    "ka": """
        დილა მშვიდობისა ყველას, კეთილი იყოს თქვენი მობრძანება ჩემს სამზარეულოში.
        დღეს მოვამზადებთ მარტივ წვნიანს ხახვით და სტაფილოთი.
        მთელი ღამე წვიმდა და ახლა ყველაფერი სველია.
        მადლობა ყურებისთვის, შევხვდებით მომავალ კვირას.""",
    "kn": """
        ಎಲ್ಲರಿಗೂ ಶುಭೋದಯ, ನನ್ನ ಅಡುಗೆಮನೆಗೆ ಸ್ವಾಗತ.
        ಇಂದು ನಾವು ಈರುಳ್ಳಿ ಮತ್ತು ಕ್ಯಾರೆಟ್ ಸೂಪ್ ಮಾಡೋಣ.
        ರಾತ್ರಿಯಿಡೀ ಮಳೆ ಬಂದಿದೆ, ಈಗ ಎಲ್ಲವೂ ಒದ್ದೆಯಾಗಿದೆ.""",
    "ko": """
        여러분 안녕하세요, 제 부엌에 다시 오신 것을 환영합니다.
        오늘은 양파와 당근으로 간단한 수프를 만들겠습니다.
        소금은 얼마나 넣으면 좋을까요?
        빵은 어제 길모퉁이에 있는 빵집에서 샀어요.
        밤새 비가 와서 지금은 모든 것이 젖어 있습니다.
        내일 날씨가 더 좋으면 바다에 갈 거예요.
        손님들이 오기 전에 아직 할 일이 많이 있습니다.
        시청해 주셔서 감사합니다. 다음 주에 만나요.""",
    "lt": """
        Labas rytas visiems ir sveiki sugrįžę į mano virtuvę.
        Šiandien virsime paprastą sriubą iš svogūnų ir morkų.
        Kaip manote, kiek druskos turėtume įdėti?
        Duoną pirkau vakar kepykloje už kampo.
        Visą naktį lijo, ir dabar viskas šlapia.
        Rytoj važiuosime prie jūros, jei oras bus geresnis.
        Dar daug ką reikia padaryti, kol ateis svečiai.
        Ačiū, kad žiūrėjote, iki pasimatymo kitą savaitę.""",
    "lv": """
        Labrīt visiem un laipni lūdzam atpakaļ manā virtuvē.
        Šodien vārīsim vienkāršu zupu no sīpoliem un burkāniem.
        Kā jūs domājat, cik daudz sāls mums jāpievieno?
        Maizi es vakar nopirku maiznīcā aiz stūra.
        Visu nakti lija lietus, un tagad viss ir slapjš.
        Rīt brauksim uz jūru, ja laiks būs labāks.
        Vēl ir daudz darāmā, pirms atnāk ciemiņi.
        Paldies, ka skatījāties, tiekamies nākamnedēļ. Ģimene un ķirši, ļoti garšīgi.""",
    "mk": """
        Добро утро на сите и добре дојдовте во мојата кујна.
        Денес ќе зготвиме едноставна супа од кромид и моркови.
        Што мислите, колку сол треба да додадеме?
        Лебот го купив вчера во пекарницата зад аголот.
        Цела ноќ врнеше дожд и сега сѐ е влажно.
        Утре ќе одиме на море ако времето е подобро.
        Има уште многу работа пред да дојдат гостите.
        Ви благодарам што гледавте, се гледаме идната недела. Меѓу нас, љубов и њива.""",
    "ms": """
        Selamat pagi semua, selamat kembali ke dapur saya.
        Hari ini kita akan membuat sup ringkas daripada bawang dan lobak merah.
        Pada pendapat anda, berapa banyak garam perlu ditambah?
        Roti ini saya beli semalam di kedai roti berhampiran — sedap sekali.
        Hujan turun sepanjang malam, dan sekarang semuanya basah.
        Terima kasih kerana menonton, jumpa lagi minggu hadapan.""",
    "nl": """
        Goedemorgen allemaal en welkom terug in mijn keuken.
        Vandaag maken we een eenvoudige soep van uien en wortels.
        Hoeveel zout moeten we volgens jullie toevoegen?
        Het brood heb ik gisteren bij de bakker om de hoek gekocht, één euro vijftig.
        Het heeft de hele nacht geregend, en nu is alles nat.
        Morgen gaan we naar zee, als het weer beter is.
        Er is nog veel te doen voordat de gasten komen, zei mijn zoon, die reünies haat.
        Bedankt voor het kijken, tot volgende week. Coördineren hoort erbij.""",
    "no": """
        God morgen alle sammen, og velkommen tilbake til kjøkkenet mitt.
        I dag skal vi lage en enkel suppe av løk og gulrøtter.
        Hvor mye salt synes dere vi skal ha i?
        Brødet kjøpte jeg i går hos bakeren på hjørnet.
        Det har regnet hele natten, og nå er alt vått.
        I morgen drar vi til sjøen hvis været blir bedre.
        Det er fortsatt mye å gjøre før gjestene kommer.
        Takk for at dere så på, vi ses neste uke.""",
    "pl": """
        Dzień dobry wszystkim i witam ponownie w mojej kuchni.
        Dzisiaj ugotujemy prostą zupę z cebuli i marchewki.
        Jak myślicie, ile soli powinniśmy dodać?
        Chleb kupiłam wczoraj w piekarni za rogiem.
        Całą noc padał deszcz i teraz wszystko jest mokre.
        Jutro pojedziemy nad morze, jeśli pogoda będzie lepsza.
        Jest jeszcze dużo do zrobienia, zanim przyjdą goście.
        Dziękuję za uwagę, do zobaczenia w przyszłym tygodniu. Źle się czuję, mój książę.""",
    "pt": """
        Bom dia a todos e bem-vindos de volta à minha cozinha.
        Hoje vamos fazer uma sopa simples de cebola e cenoura.
        Quanto sal acham que devemos acrescentar?
        O pão comprei-o ontem na padaria da esquina.
        Choveu a noite toda, e agora está tudo molhado.
        Amanhã vamos à praia, se o tempo estiver melhor.
        Ainda há muito que fazer antes que os convidados cheguem; não são poucos.
        Obrigado por assistirem, até à próxima semana. Você também, coração.""",
    "ro": """
        Bună dimineața tuturor și bine ați revenit în bucătăria mea.
        Astăzi vom găti o supă simplă de ceapă și morcovi.
        Câtă sare credeți că trebuie să adăugăm?
        Pâinea am cumpărat-o ieri de la brutăria din colț.
        A plouat toată noaptea, iar acum totul este ud.
        Mâine vom merge la mare, dacă vremea va fi mai bună.
        Mai este mult de lucru până vin oaspeții.
        Vă mulțumesc că ați privit, ne vedem săptămâna viitoare. Însă fără grijă.""",
    "ru": """
        Доброе утро всем и добро пожаловать снова на мою кухню.
        Сегодня мы сварим простой суп из лука и моркови.
        Как вы думаете, сколько соли нужно добавить?
        Хлеб я купила вчера в пекарне за углом.
        Всю ночь шёл дождь, и теперь всё мокрое.
        Завтра мы поедем на море, если погода будет лучше.
        Ещё много нужно сделать, прежде чем придут гости.
        Спасибо, что смотрели, увидимся на следующей неделе. Это подъезд, юла и щука.""",
    "sk": """
        Dobré ráno všetkým a vitajte späť v mojej kuchyni.
        Dnes uvaríme jednoduchú polievku z cibule a mrkvy.
        Čo myslíte, koľko soli by sme mali pridať?
        Chlieb som kúpila včera v pekárni za rohom.
        Celú noc pršalo a teraz je všetko mokré.
        Zajtra pôjdeme k moru, ak bude lepšie počasie.
        Ešte treba urobiť veľa vecí, kým prídu hostia.
        Ďakujem, že ste pozerali, uvidíme sa budúci týždeň. Môžeš ísť, päť žiab, vŕba.""",
    "sl": """
        Dobro jutro vsem in dobrodošli nazaj v moji kuhinji.
        Danes bomo skuhali preprosto juho iz čebule in korenja.
        Kaj mislite, koliko soli moramo dodati?
        Kruh sem kupila včeraj v pekarni za vogalom.
        Vso noč je deževalo in zdaj je vse mokro.
        Jutri gremo na morje, če bo vreme boljše.
        Veliko je še treba postoriti, preden pridejo gostje. Želim vam srečo.
        Hvala, ker ste gledali, se vidimo naslednji teden.""",
    "sq": """
        Mirëmëngjes të gjithëve dhe mirë se erdhët përsëri në kuzhinën time.
        Sot do të gatuajmë një supë të thjeshtë me qepë dhe karota.
        Sa kripë mendoni se duhet të shtojmë?
        Bukën e bleva dje në furrën pas qoshes.
        Gjithë natën ka rënë shi, dhe tani çdo gjë është e lagur.
        Nesër do të shkojmë në det, nëse koha është më e mirë.
        Faleminderit që na ndoqët, shihemi javën tjetër. Çfarë bukurie!""",
    "sr": """
        Добро јутро свима и добро дошли назад у моју кухињу.
        Данас ћемо скувати једноставну супу од лука и шаргарепе.
        Шта мислите, колико соли треба да додамо?
        Хлеб сам купила јуче у пекари иза ћошка.
        Целу ноћ је падала киша и сада је све мокро.
        Сутра идемо на море, ако време буде лепше.
        Има још много посла пре него што дођу гости.
        Хвала што сте гледали, видимо се следеће недеље. Љубав, џем и чађ.""",
    "sr-Latn": """
        Dobro jutro svima i dobro došli nazad u moju kuhinju.
        Danas ćemo skuvati jednostavnu supu od luka i šargarepe.
        Šta mislite, koliko soli treba da dodamo?
        Hleb sam kupila juče u pekari iza ćoška.
        Celu noć je padala kiša i sada je sve mokro.
        Sutra idemo na more, ako vreme bude lepše.
        Ima još mnogo posla pre nego što dođu gosti.
        Hvala što ste gledali, vidimo se sledeće nedelje. Žao mi je.""",
    "sv": """
        God morgon allihop, och välkomna tillbaka till mitt kök.
        I dag ska vi laga en enkel soppa på lök och morötter.
        Hur mycket salt tycker ni att vi ska ha i?
        Brödet köpte jag i går hos bagaren på hörnet.
        Det har regnat hela natten, och nu är allting vått.
        I morgon åker vi till havet om vädret blir bättre.
        Det finns fortfarande mycket att göra innan gästerna kommer.
        Tack för att ni tittade, vi ses nästa vecka. En idé, ingen armé.""",
    "sw": """
        Habari za asubuhi, karibuni tena jikoni kwangu.
        Leo tutapika supu rahisi ya vitunguu na karoti.
        Mnadhani tuongeze chumvi kiasi gani?
        Mvua imenyesha usiku kucha — sasa kila kitu kimelowa.
        Asanteni kwa kutazama, tutaonana wiki ijayo…""",
    "ta": """
        அனைவருக்கும் காலை வணக்கம், என் சமையலறைக்கு மீண்டும் வருக.
        இன்று நாம் வெங்காயம் மற்றும் கேரட் சூப் செய்யப் போகிறோம்.
        எவ்வளவு உப்பு சேர்க்க வேண்டும் என்று நினைக்கிறீர்கள்?
        இரவு முழுவதும் மழை பெய்தது, இப்போது எல்லாம் ஈரமாக இருக்கிறது.""",
    "te": """
        అందరికీ శుభోదయం, నా వంటగదికి మళ్ళీ స్వాగతం.
        ఈ రోజు మనం ఉల్లిపాయలు, క్యారెట్లతో సూప్ చేద్దాం.
        రాత్రంతా వర్షం పడింది, ఇప్పుడు అంతా తడిగా ఉంది.""",
    "th": """
        สวัสดีตอนเช้าทุกคน ยินดีต้อนรับกลับสู่ครัวของฉัน
        วันนี้เราจะทำซุปง่ายๆ จากหัวหอมและแครอท
        คุณคิดว่าควรใส่เกลือเท่าไหร่ดี
        ขนมปังนี้ฉันซื้อเมื่อวานที่ร้านตรงหัวมุม
        ฝนตกทั้งคืน และตอนนี้ทุกอย่างเปียกหมด
        พรุ่งนี้เราจะไปทะเลถ้าอากาศดีขึ้น
        ยังมีอะไรต้องทำอีกมากก่อนที่แขกจะมา
        ขอบคุณที่รับชม แล้วพบกันใหม่สัปดาห์หน้า""",
    "tr": """
        Herkese günaydın, mutfağıma tekrar hoş geldiniz.
        Bugün soğan ve havuçla basit bir çorba yapacağız.
        Sizce ne kadar tuz eklemeliyiz?
        Ekmeği dün köşedeki fırından aldım.
        Bütün gece yağmur yağdı ve şimdi her şey ıslak.
        Yarın hava daha güzel olursa denize gideceğiz.
        Misafirler gelmeden önce yapılacak daha çok iş var.
        İzlediğiniz için teşekkürler, haftaya görüşürüz. Şimdi gözlüğümü çıkarıyorum.""",
    "uk": """
        Доброго ранку всім і ласкаво просимо знову на мою кухню.
        Сьогодні ми зваримо простий суп із цибулі та моркви.
        Як ви гадаєте, скільки солі треба додати?
        Хліб я купила вчора в пекарні за рогом.
        Усю ніч ішов дощ, і тепер усе мокре.
        Завтра ми поїдемо на море, якщо погода буде кращою.
        Ще багато чого треба зробити, перш ніж прийдуть гості.
        Дякую, що дивилися, побачимося наступного тижня. Її ґанок і моє щастя.""",
    "ur": """
        سب کو صبح بخیر، میرے باورچی خانے میں دوبارہ خوش آمدید۔
        آج ہم پیاز اور گاجر کا سادہ سوپ بنائیں گے۔
        آپ کے خیال میں کتنا نمک ڈالنا چاہیے؟
        ساری رات بارش ہوتی رہی اور اب سب کچھ گیلا ہے۔""",
    "vi": """
        Chào buổi sáng các bạn, chào mừng trở lại nhà bếp của tôi.
        Hôm nay chúng ta sẽ nấu một món súp đơn giản với hành tây và cà rốt.
        Theo các bạn, chúng ta nên thêm bao nhiêu muối?
        Bánh mì tôi mua hôm qua ở tiệm bánh góc đường.
        Trời mưa suốt đêm, và bây giờ mọi thứ đều ướt.
        Ngày mai chúng ta sẽ đi biển nếu thời tiết đẹp hơn.
        Vẫn còn nhiều việc phải làm trước khi khách đến.
        Cảm ơn các bạn đã xem, hẹn gặp lại tuần sau.""",
    "zh-Hans": """
        大家早上好，欢迎回到我的厨房。
        今天我们用洋葱和胡萝卜做一个简单的汤。
        你们觉得应该放多少盐？
        面包是我昨天在街角的面包店买的。
        下了一整夜的雨，现在所有东西都是湿的。
        明天如果天气好一点，我们就去海边。
        客人来之前还有很多事情要做。
        谢谢大家收看，我们下周再见。""",
    "zh-Hant": """
        大家早安，歡迎回到我的廚房。
        今天我們用洋蔥和胡蘿蔔做一個簡單的湯。
        你們覺得應該放多少鹽？
        麵包是我昨天在街角的麵包店買的。
        下了一整夜的雨，現在所有東西都是濕的。
        明天如果天氣好一點，我們就去海邊。
        客人來之前還有很多事情要做。
        謝謝大家收看，我們下週再見。""",
}
